"""The rules of awaiting: one co_await per statement, at its start or bound to a name there, with arguments that
already have names. They make suspension points visible, and keep clear of what g++ 12 miscompiles: braced aggregates
and capturing lambdas that are made inside an awaiting expression, and awaits in conditions."""

CHECKS = ("await-many", "await-condition", "await-in-braces", "await-braces", "await-lambda", "await-position",
          "coroutine-lambda")
COROUTINE_WORDS = ("co_await", "co_return", "co_yield")
BODIES = ("function", "lambda", "block", "namespace", "type", "requires")


def check(source):
    """Yields (check, line, text, message)."""
    awaits = [index for index, token in enumerate(source.tokens)
              if token == "co_await" and source.at(index - 1) != "operator"]
    starts = {}
    for index in awaits:
        start = statement_start(source, index)
        starts.setdefault(start, []).append(index)
        for check_name, message in check_await(source, index, start):
            yield check_name, source.lines[index], text_of(source, index), message
    for indices in starts.values():
        if len(indices) > 1:
            yield ("await-many", source.lines[indices[1]], text_of(source, indices[1]),
                   f"{len(indices)} co_await in one statement: bind each to a name first")
    yield from check_lambdas(source)


def text_of(source, index):
    return source.raw_lines[source.lines[index] - 1].strip()


def statement_start(source, index):
    """The index of the first token of the statement around a token; a lambda's body is statements of its own."""
    at = index - 1
    while at >= 0:
        token = source.at(at)
        if token in (")", "]", "}") and at in source.match:
            opener = source.match[at]
            if token == "}" and source.kind[opener] in BODIES and source.kind[opener] != "lambda":
                return at + 1
            if token == ")" and source.is_control_head(opener):
                return at + 1
            at = opener - 1
            continue
        if token == "{" and source.kind[at] in BODIES:
            return at + 1
        if token in ("else", "do"):
            return at + 1
        if token == ";" and not in_control_head(source, at):
            return at + 1
        at -= 1
    return 0


def in_control_head(source, index):
    opener = source.opener[index]
    return opener >= 0 and source.at(opener) == "(" and source.is_control_head(opener)


def check_await(source, index, start):
    opener = source.opener[index]
    depth = 0
    while opener >= start:
        if source.at(opener) == "(" and source.is_control_head(opener):
            yield "await-condition", f"co_await in the head of {source.at(opener - 1)}: bind it to a name before"
            return
        if source.at(opener) == "{" and source.kind[opener] == "init":
            yield "await-in-braces", "co_await inside a braced initializer: bind it to a name before"
            return
        depth += 1
        opener = source.opener[opener]
    if not position_is_plain(source, start, index, depth):
        yield "await-position", "co_await not at the start of a statement, nor bound to a name there"
    yield from check_operand(source, index)


def position_is_plain(source, start, index, depth):
    before = source.tokens[start:index]
    while before and before[0] == "[" and before[1:2] == ["["]:  # attributes
        end = source.match.get(start, start)
        before = source.tokens[end + 1:index]
        start = end + 1
    label = before.index(":") if ":" in before and "?" not in before[:before.index(":")] else -1
    if label >= 0 and (before[0] in ("case", "default") or label == 1):
        before = before[label + 1:]
    if not before or before in (["co_return"], ["(", "void", ")"]):
        return True
    if before == ["static_cast", "<", "void", ">", "("]:
        return True
    return depth == 0 and before[-1] == "=" and before.count("=") == 1 and "?" not in before


def is_options(source, at):
    """{.member = ...}, or SomeOptions{}: options structs are trivially destructible, which their headers assert."""
    if source.at(at + 1) == ".":
        return True
    return source.at(at + 1) == "}" and at > 0 and source.at(at - 1).endswith("Options")


def check_operand(source, index):
    """Braces and capturing lambdas among what is awaited."""
    at = index + 1
    while at < len(source.tokens):
        token = source.at(at)
        if token in (";", ")", "]", "}"):
            return
        if token == "{":
            if source.kind[at] == "lambda":
                if captures(source, source.lambda_of(at)):
                    yield "await-lambda", "a capturing lambda made inside an awaiting expression: name it before"
            elif source.kind[at] != "init":
                return
            elif not is_options(source, at):
                yield "await-braces", "a braced list in an awaiting expression, not of the form {.member = ...}"
            at = source.match.get(at, at) + 1
        elif token in ("(", "["):
            end = source.match.get(at, at)
            yield from check_arguments(source, at + 1, end)
            at = end + 1
        else:
            at += 1


def check_arguments(source, at, end):
    while at < end:
        if source.at(at) == "{":
            if source.kind[at] == "lambda":
                if captures(source, source.lambda_of(at)):
                    yield "await-lambda", "a capturing lambda made inside an awaiting expression: name it before"
            elif not is_options(source, at):
                yield "await-braces", "a braced list in an awaiting expression, not of the form {.member = ...}"
            at = source.match.get(at, at)
        at += 1


def captures(source, introducer):
    return introducer is not None and source.match.get(introducer, introducer) > introducer + 1


def check_lambdas(source):
    for index, kind in source.kind.items():
        if kind != "lambda" or not captures(source, source.lambda_of(index)):
            continue
        if is_coroutine(source, index):
            introducer = source.lambda_of(index)
            yield ("coroutine-lambda", source.lines[introducer], text_of(source, introducer),
                   "a lambda with captures is a coroutine: pass what it needs as parameters")


def is_coroutine(source, body):
    """Whether the body itself, not a lambda or local class inside it, has a word that makes it a coroutine."""
    at = body + 1
    end = source.match.get(body, len(source.tokens))
    while at < end:
        if source.at(at) == "{" and source.kind[at] in ("lambda", "function"):
            at = source.match.get(at, at)
        elif source.at(at) in COROUTINE_WORDS and source.at(at - 1) != "operator":
            return True
        at += 1
    return False
