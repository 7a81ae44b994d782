"""The demonstration: a fleet of four real servers with the guide's schema, realistic data and planted trouble."""
