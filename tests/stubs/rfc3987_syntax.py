"""An optional part of jsonschema, which nbformat imports: it takes seconds to start, and nothing here needs it."""

raise ImportError
