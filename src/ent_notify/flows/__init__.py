"""The ways that data goes: short trio functions that call ports and policies."""
