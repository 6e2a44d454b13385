"""The embedded stack: starts, watches and stops the services whose address the settings do not name."""
