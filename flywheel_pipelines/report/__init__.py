"""The page that answers the owner's question: is it spinning? Reads the lake and the published file."""
