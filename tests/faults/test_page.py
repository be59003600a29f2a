"""The board itself: it sees what is silent, left or badly said, and the page holds every fault."""
