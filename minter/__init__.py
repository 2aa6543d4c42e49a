"""From mint tasks in PostgreSQL to tokens on TON and back.

A pure lifecycle, a pytonlib shell around it.
"""
