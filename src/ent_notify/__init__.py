"""ent_notify: the messaging and notification engine of a French school platform."""
