"""What must come out, computed by other code than Laurel's own, and compared with what did."""
