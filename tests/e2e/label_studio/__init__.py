"""The real thing: Label Studio and the backend as processes, and a person in Chromium who uses them."""
