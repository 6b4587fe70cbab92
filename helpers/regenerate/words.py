"""Times in words."""


def in_words(seconds: float) -> str:
    """Seconds in words, such as "6 min 12 s" or "1 h 5 min"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h" if hours else "", f"{minutes} min" if minutes else "", "" if hours else f"{seconds} s"]
    return " ".join(filter(None, parts))
