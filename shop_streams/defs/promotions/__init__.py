"""Restaurants' campaigns: each subscriber of a live campaign is notified once."""
