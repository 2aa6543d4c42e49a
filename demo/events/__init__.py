"""The demo's producers: a seeded crowd, and the messages that it causes."""
