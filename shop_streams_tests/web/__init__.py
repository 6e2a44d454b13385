"""The tag in Node and in a real browser, the build, and the demo's shop."""
