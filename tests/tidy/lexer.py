"""Reads C++ well enough to judge its layout: tokens without comments, literals and directives, matched brackets,
and for each brace what it opens. It knows no types and expands no macros."""
import bisect
import re

RAW_STRING = re.compile(r'(?:u8|[uUL])?R"([^()\\\s]{0,16})\(')
STRING = re.compile(r'(?:u8|[uUL])?"(?:[^"\\\n]|\\.)*"', re.S)
CHARACTER = re.compile(r"(?:u8|[uUL])?'(?:[^'\\\n]|\\.)+'", re.S)
NUMBER = re.compile(r"\.?[0-9](?:'?[0-9A-Za-z_.]|(?<=[eEpP])[+-])*")
WORD = re.compile(r"[A-Za-z_]\w*")
PUNCTUATION = re.compile(r"\.\.\.|<=>|<<=|->\*|::|->|\+\+|--|&&|\|\||<<|[-+*/%&|^=!<>]=|[^\w\s]")
DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(\w+)(?:[^\n\\]|\\.|\\\n)*", re.M)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^">]+)[">]', re.M)

OPENERS = {"(": ")", "[": "]", "{": "}"}
CONTROL = {"if", "for", "while", "switch", "catch"}
TYPE_KEYS = {"class", "struct", "union", "enum"}


def blank(text):
    return re.sub(r"[^\n]", " ", text)


def strip_comments(text, strip_literals):
    """The text with comments (and what stands inside literals) replaced by blanks; every offset stays."""
    parts = []
    at = 0
    while at < len(text):
        if text.startswith("//", at):
            end = at
            while True:
                end = text.find("\n", end)
                if end < 0 or text[end - 1] != "\\":
                    break
                end += 1
            end = len(text) if end < 0 else end
            parts.append(blank(text[at:end]))
        elif text.startswith("/*", at):
            end = text.find("*/", at + 2)
            end = len(text) if end < 0 else end + 2
            parts.append(blank(text[at:end]))
        else:
            end = literal_end(text, at)
            if end:
                literal = text[at:end]
                parts.append('"' + blank(literal[1:-1]) + '"' if strip_literals else literal)
            else:
                word = NUMBER.match(text, at) or WORD.match(text, at)
                end = word.end() if word else at + 1
                parts.append(text[at:end])
        at = end
    return "".join(parts)


def literal_end(text, at):
    """Where the literal that begins here ends, or None."""
    if text[at] not in "\"'uULR":
        return None
    raw = RAW_STRING.match(text, at)
    if raw:
        end = text.find(")" + raw.group(1) + '"', raw.end())
        return len(text) if end < 0 else end + len(raw.group(1)) + 2
    literal = STRING.match(text, at) or CHARACTER.match(text, at)
    return literal.end() if literal else None


def blank_directives(text):
    """Blanks preprocessor lines. Of #if branches that open a different number of braces than they close, only the
    first stays, or nothing would match."""
    spans = []
    stack = []
    for match in DIRECTIVE.finditer(text):
        word = match.group(1)
        spans.append((match.start(), match.end()))
        if word in ("if", "ifdef", "ifndef"):
            stack.append([match.end()])
        elif word in ("elif", "else", "elifdef", "elifndef") and stack:
            stack[-1] += [match.start(), match.end()]
        elif word == "endif" and stack:
            bounds = stack.pop() + [match.start()]
            branches = list(zip(bounds[::2], bounds[1::2]))
            if any(text.count("{", *b) != text.count("}", *b) for b in branches):
                spans += branches[1:]
    for start, end in sorted(spans):
        text = text[:start] + blank(text[start:end]) + text[end:]
    return text


class Source:
    """One file: `tokens` are texts, `lines` their line numbers, `match` the index of the bracket that a bracket
    belongs to, `opener` the innermost bracket around a token (-1: none), `kind` what a brace opens: namespace,
    type, function, lambda, block, init or requires."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.raw_lines = text.split("\n")
        bare = strip_comments(text, strip_literals=False)
        self.includes = [(bare.count("\n", 0, m.start()) + 1, m.group(1) == '"', m.group(2))
                         for m in INCLUDE.finditer(bare)]
        self.pragma_once = re.search(r"^[ \t]*#[ \t]*pragma[ \t]+once\b", bare, re.M) is not None
        self.tokenise(blank_directives(strip_comments(text, strip_literals=True)))
        self.bracket()
        self.kind = {}
        for index, token in enumerate(self.tokens):
            if token == "{":
                self.kind[index] = self.classify(index)

    def tokenise(self, code):
        starts = [0] + [i + 1 for i, c in enumerate(code) if c == "\n"]
        self.tokens, self.lines = [], []
        at = 0
        while at < len(code):
            if code[at].isspace():
                at += 1
                continue
            if code[at] == '"':
                end = code.index('"', at + 1) + 1
                token = '""'
            else:
                match = NUMBER.match(code, at) or WORD.match(code, at) or PUNCTUATION.match(code, at)
                end, token = match.end(), match.group()
            self.tokens.append(token)
            self.lines.append(bisect.bisect_right(starts, at))
            at = end

    def bracket(self):
        self.match, self.opener = {}, []
        stack = []
        for index, token in enumerate(self.tokens):
            if token in (")", "]", "}"):
                while stack and OPENERS[self.tokens[stack[-1]]] != token:
                    stack.pop()
                if stack:
                    start = stack.pop()
                    self.match[start], self.match[index] = index, start
            self.opener.append(stack[-1] if stack else -1)
            if token in OPENERS:
                stack.append(index)

    def at(self, index):
        return self.tokens[index] if 0 <= index < len(self.tokens) else ""

    def is_control_head(self, index):
        """Whether the parenthesis opened here is the head of an if, for, while, switch or catch."""
        before = self.at(index - 1)
        return before in CONTROL or (before == "constexpr" and self.at(index - 2) == "if")

    def is_lambda_introducer(self, index):
        """Whether the [ here opens a capture list."""
        before = self.at(index - 1)
        if self.at(index + 1) == "[" or before == "[" or self.at(index) != "[":
            return False
        if before in ("auto", "delete", "operator"):
            return False
        if before in ("&", "&&") and self.at(index - 2) == "auto":
            return False
        if before in ("return", "co_return", "co_await", "co_yield", "case", "else", "do"):
            return True
        return not (before in (")", "]", ">", '""') or re.fullmatch(r"\w+", before))

    def lambda_of(self, index):
        """The [ of the lambda whose body's brace stands here, or None."""
        at = index - 1
        limit = max(0, index - 80)
        while at > limit:
            token = self.at(at)
            if token in (")", "]", "}"):
                if at not in self.match:
                    return None
                start = self.match[at]
                if token == "}" and self.kind.get(start) != "init":
                    return None
                if token == "]" and self.is_lambda_introducer(start):
                    return start
                if token == ")" and self.is_control_head(start):
                    return None
                at = start - 1
            elif token in ("{", "(", ";", ",", "=", "return", "co_return", "?"):
                return None
            else:
                at -= 1
        return None

    def head(self, index):
        """The tokens between the start of the declaration and the brace here, brackets skipped over, as indices;
        a leading template<...> is left out."""
        indices = []
        at = index - 1
        while at >= 0:
            token = self.at(at)
            if token == ";" or token in OPENERS:
                break
            if token == "}" and self.kind.get(self.match.get(at)) not in ("init", "requires"):
                break
            if token == ":" and self.at(at - 1) in ("public", "private", "protected"):
                break
            indices.append(at)
            at = self.match[at] - 1 if token in (")", "]", "}") and at in self.match else at - 1
        indices.reverse()
        while indices and self.at(indices[0]) == "template":
            depth = 0
            for position, at in enumerate(indices):
                depth += {"<": 1, ">": -1}.get(self.at(at), 0)
                if self.at(at) == ">" and depth == 0:
                    break
            indices = indices[position + 1:]
        while indices and self.at(indices[0]) == "]":
            indices = indices[1:]
        return indices

    def classify(self, index):
        if self.lambda_of(index) is not None:
            return "lambda"
        before = self.at(index - 1)
        if before == "requires":
            return "requires"
        if before == ")" and index - 1 in self.match and self.at(self.match[index - 1] - 1) == "requires":
            opener = self.match[index - 1]
            if self.at(opener - 2) in ("=", "requires", "&&", "||", "("):
                return "requires"
        outer = self.opener[index]
        outer_kind = self.kind.get(outer, "paren") if outer >= 0 else "namespace"
        if outer_kind in ("paren", "init"):
            return "init"
        if outer_kind in ("namespace", "type"):
            return self.classify_declaration(index)
        return self.classify_statement(index)

    def classify_declaration(self, index):
        head = self.head(index)
        words = [self.at(i) for i in head]
        before = self.at(index - 1)
        if not words or "namespace" in words or words[-1:] == ['""']:
            return "namespace" if words else "block"
        parens = [i for i, word in enumerate(words) if word == ")"]
        if words[0] == "requires" and len(parens) > 1:
            parens = parens[1:]
        lead = [w for w in words[:3] if w not in ("typedef", "static", "constexpr", "inline", "friend", "const")]
        if lead and lead[0] in TYPE_KEYS and before != ")":
            return "type"
        if words[0] == "requires" and "=" not in words and before != ")" and TYPE_KEYS & set(words):
            return "type"
        if "operator" not in words and "=" in words:
            return "init"
        if not parens:
            return "init"
        if ":" in words[parens[0]:]:  # a constructor's initializers: the body follows a closed one
            return "function" if before in (")", "}", "...") else "init"
        tail = words[parens[-1] + 1:]
        if not tail or tail[0] in ("const", "noexcept", "override", "final", "&", "&&", "->", "requires", "try",
                                   "volatile", "mutable"):
            return "function"
        if "->" in words[parens[0]:] or "requires" in words[parens[0]:]:
            return "function"
        return "init"

    def classify_statement(self, index):
        before = self.at(index - 1)
        if before in ("else", "do", "try", ";", "{", "}", ":", "") or before == "constexpr":
            return "block"
        if before == ")":
            opener = self.match.get(index - 1, index)
            return "init" if self.at(opener - 1) == "decltype" else "block"
        words = [self.at(i) for i in self.head(index)]
        lead = [w for w in words[:3] if w not in ("typedef", "static", "constexpr", "const")]
        if lead and lead[0] in TYPE_KEYS and "=" not in words:
            # `struct stat status{}` is a variable; `struct Part : Whole` a type.
            named = [w for w in lead[1:] if re.fullmatch(r"\w+", w)]
            if len(named) < 2 or ":" in words or "final" in words or lead[0] == "enum":
                return "type"
        return "init"

    def functions(self):
        """(name, first line, last line) of each function that is not inside another."""
        for index, kind in self.kind.items():
            if kind != "function" or index not in self.match or "function" in self.kinds_around(index):
                continue
            head = self.head(index)
            first = head[0] if head else index
            if self.at(first) in (")", "]", "}"):
                first = self.match[first]
            yield self.name_of(head), self.lines[first], self.lines[self.match[index]]

    def kinds_around(self, index):
        """What the brackets around a token open, innermost first; "" for a bracket that is no brace."""
        kinds = []
        index = self.opener[index]
        while index >= 0:
            kinds.append(self.kind.get(index, ""))
            index = self.opener[index]
        return kinds

    def name_of(self, head):
        for position, at in enumerate(head):
            if self.at(at) != ")" or position == 0 or self.at(head[position - 1]) in ("requires", "noexcept",
                                                                                    "alignas", "decltype"):
                continue
            name = self.at(head[position - 1])
            if "operator" in (self.at(i) for i in head[:position]):
                start = [self.at(i) for i in head].index("operator")
                return "operator" + "".join(self.at(i) for i in head[start + 1:position])
            at = head[position - 1]
            while self.at(at - 1) in ("::", "~"):
                name = self.at(at - 1) + name
                at -= 1
                if self.at(at) == "::" and re.fullmatch(r"\w+", self.at(at - 1)):
                    name = self.at(at - 1) + name
                    at -= 1
            return name
        return "?"
