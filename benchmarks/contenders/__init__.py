"""One program per contender: each reads the same topic and is measured from outside by the offsets it commits."""
