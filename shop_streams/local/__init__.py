"""The embedded stack: starts, watches and stops the services that settings do not name elsewhere."""
