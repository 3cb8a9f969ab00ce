"""Runs a checked-in SQL script of the engine at hand inside a migration."""

from importlib import resources
from sqlite3 import complete_statement

from alembic import context, op


def run(name: str) -> None:
    """Run `<engine>/<name>`, the schema's name put in place of `refold.`."""
    connection = op.get_bind()
    engine = "sqlite" if connection.dialect.name == "sqlite" else "postgres"
    text = resources.files("refold.migrations").joinpath(engine, name).read_text()
    if engine == "sqlite":
        for statement in _statements(text):
            connection.exec_driver_sql(statement)
    else:
        schema = context.config.attributes["schema"]
        quoted = connection.dialect.identifier_preparer.quote_identifier(schema)
        connection.connection.cursor().execute(text.replace("refold.", f"{quoted}."))


def _statements(text: str) -> list[str]:
    """Split a script at the ends of its statements; triggers hold semicolons of their own."""
    statements = [""]
    for line in text.splitlines(keepends=True):
        statements[-1] += line
        if complete_statement(statements[-1]):
            statements.append("")
    return [statement for statement in statements if statement.strip()]
