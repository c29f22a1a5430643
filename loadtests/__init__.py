"""Load tests: crowds of readers as at 08:55 on a school day, and a check that nobody missed anything."""
