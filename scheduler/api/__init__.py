"""The REST API: routes and their schemas over `scheduler.service`; nothing here decides."""
