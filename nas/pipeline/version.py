"""The version. It stands in the room that no fingerprint holds: a release retrains nothing."""

VERSION = "0.2.0"
