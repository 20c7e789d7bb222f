"""Replicas of the service behind HAProxy: restarted, killed, upgraded, hung; what it costs."""
