"""clickstream: what shoppers look at and order, per item and half hour."""
