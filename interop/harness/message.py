"""A received message, section by section, each value with its AMQP type."""

# Descriptor codes of the sections [AMQP 3.2].
SECTIONS = {
    0x70: "header",
    0x71: "delivery annotations",
    0x72: "message annotations",
    0x73: "properties",
    0x74: "application properties",
    0x75: "data",
    0x76: "sequence",
    0x77: "value",
    0x78: "footer",
}
# The fields of the sections that are lists, in their order [AMQP 3.2.1, 3.2.4].
HEADER = ["durable", "priority", "ttl", "first-acquirer", "delivery-count"]
PROPERTIES = [
    "message-id",
    "user-id",
    "to",
    "subject",
    "reply-to",
    "correlation-id",
    "content-type",
    "content-encoding",
    "absolute-expiry-time",
    "creation-time",
    "group-id",
    "group-sequence",
    "reply-to-group-id",
]


class Message:
    """Fields are `(type, value)`; one that is missing or null is not there."""

    def __init__(self, event):
        self.number, self.address = event["number"], event["address"]
        self.settled, self.had_credit = event["settled"], event["had_credit"]
        sections = [(SECTIONS[section["descriptor"]], section) for section in event["sections"]]
        self.order = [name for name, _ in sections]
        by_name = dict(sections)
        self.header = fields(HEADER, by_name.get("header"))
        self.properties = fields(PROPERTIES, by_name.get("properties"))
        self.annotations = entries("symbol", by_name.get("message annotations"))
        self.application_properties = entries("string", by_name.get("application properties"))
        self.data = [value(section) for name, section in sections if name == "data"]

    @property
    def body(self):
        """The payload as text."""
        return "".join(bytes.fromhex(data).decode() for _, data in self.data)


def value(item):
    """A plain value as `(type, value)`."""
    return item["type"], item["value"]


def fields(names, section):
    """A section that is a list, by field name."""
    assert section is None or section["type"] == "list", section
    values = section["value"] if section else []
    assert len(values) <= len(names), values
    return {name: value(item) for name, item in zip(names, values) if item["type"] != "null"}


def entries(key_type, section):
    """A map whose keys all have one type."""
    if section is None:
        return {}
    assert section["type"] == "map", section
    pairs = section["value"]
    assert all(key["type"] == key_type for key, _ in pairs), pairs
    found = {key["value"]: value(item) for key, item in pairs}
    assert len(found) == len(pairs), f"a key is there twice: {pairs}"
    return found
