#!/usr/bin/env python3
"""Shows for each check of tidy.py a snippet that it finds and one that it leaves alone."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import tidy  # noqa: E402
from lexer import Source  # noqa: E402


def found(files):
    """The checks that complain about a tree of files, in order; headers get their #pragma once."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return [finding.check for finding in tidy.findings_of(root)]


def in_body(statements):
    """The checks that complain about statements inside a coroutine."""
    return found({"io/a.cpp": "namespace spindle {\nTask<Result<void>> f(int x) {\n" + statements + "\n}\n}\n"})


HEADER = "#pragma once\n"


class Includes(unittest.TestCase):
    def test_a_layer_includes_only_those_above_it(self):
        files = {"runtime/a.h": HEADER, "pools/b.h": HEADER + '#include "runtime/a.h"\n'}
        self.assertEqual(found(files), [])
        self.assertEqual(found(files | {"runtime/c.h": HEADER + '#include "pools/b.h"\n'}), ["layer"])
        self.assertEqual(found(files | {"io/c.cpp": '#include "pools/b.h"\n#include "runtime/a.h"\n'}), [])

    def test_nothing_includes_tests_or_benchmarks(self):
        files = {"tests/t.h": HEADER, "benchmarks/b.h": HEADER}
        self.assertEqual(found(files | {"io/a.cpp": '#include "tests/t.h"\n'}), ["layer"])
        self.assertEqual(found(files | {"services/a.cpp": '#include "benchmarks/b.h"\n'}), ["layer"])
        self.assertEqual(found(files | {"tests/a.cpp": '#include "tests/t.h"\n'}), [])

    def test_lsm_knows_no_ring(self):
        files = {"io/uring/u.h": HEADER, "io/sim/s.h": HEADER, "io/file.h": HEADER}
        self.assertEqual(found(files | {"lsm/a.cpp": '#include "io/file.h"\n'}), [])
        self.assertEqual(found(files | {"lsm/a.cpp": '#include "io/uring/u.h"\n'}), ["ring"])
        self.assertEqual(found(files | {"lsm/a.cpp": '#include "io/sim/s.h"\n'}), ["ring"])
        self.assertEqual(found({"pools/a.cpp": "#include <liburing.h>\n"}), ["ring"])

    def test_headers_of_runtime_know_no_descriptor(self):
        for name in ("liburing.h", "sys/socket.h", "fcntl.h", "unistd.h"):
            self.assertEqual(found({"runtime/a.h": HEADER + f"#include <{name}>\n"}), ["descriptor"])
        self.assertEqual(found({"runtime/a.cpp": "#include <unistd.h>\n"}), [])

    def test_a_project_header_is_named_from_the_root(self):
        self.assertEqual(found({"io/a.h": HEADER, "io/a.cpp": '#include "a.h"\n'}), ["include"])

    def test_an_include_in_a_comment_is_none(self):
        self.assertEqual(found({"runtime/a.cpp": '// #include "io/a.h"\n/*\n#include "io/b.h"\n*/\n'}), [])

    def test_a_cycle_is_reported_once_with_its_path(self):
        files = {"runtime/a.h": HEADER + '#include "runtime/b.h"\n',
                 "runtime/b.h": HEADER + '#include "runtime/c.h"\n',
                 "runtime/c.h": HEADER + '#include "runtime/a.h"\n'}
        self.assertEqual(found(files), ["include-cycle"])
        files["runtime/c.h"] = HEADER
        self.assertEqual(found(files | {"runtime/d.h": HEADER + '#include "runtime/b.h"\n#include "runtime/c.h"\n'}),
                         [])

    def test_headers_are_light_and_guarded(self):
        for name in ("cassert", "iostream", "functional", "ranges", "regex"):
            self.assertEqual(found({"io/a.h": HEADER + f"#include <{name}>\n"}), ["heavy-include"])
            self.assertEqual(found({"io/a.cpp": f"#include <{name}>\n"}), [])
        self.assertEqual(found({"io/a.h": "int x;\n"}), ["pragma-once"])
        self.assertEqual(found({"io/a.h": "// #pragma once\nint x;\n"}), ["pragma-once"])


class Sizes(unittest.TestCase):
    def test_files(self):
        self.assertEqual(found({"io/a.cpp": "int x;\n" * 500}), [])
        self.assertEqual(found({"io/a.cpp": "int x;\n" * 501}), ["file-length"])

    def test_lines(self):
        self.assertEqual(found({"io/a.cpp": "//" + "x" * 118 + "\n"}), [])
        self.assertEqual(found({"io/a.cpp": "//" + "x" * 119 + "\n"}), ["line-length"])

    def test_functions_of_every_shape(self):
        for signature in ("void f() {", "auto f() -> Pair<int, int> {", "A::A(int b) : a_{b}, c_(b) {",
                          "struct A { int x() const noexcept override {", "template <class T>\nint f(T&& t) {",
                          "template <class T>\n  requires(sizeof(T) > 1)\nint f(T&& t) {",
                          "[[nodiscard]] int f() noexcept(false) {", "bool operator==(const A& a, const A& b) {",
                          'TEST_CASE("a } brace") {', "struct stat f() {", "A::~A() {", "int operator()(int a) {"):
            closing = "\n};" if signature.startswith("struct A ") else ""
            first = signature.count("\n") - signature.count("template")
            for lines, expected in ((68 - first, []), (69 - first, ["function-length"])):
                text = signature + "\n" + "  g('{', \"{\", R\"({)\");\n" * lines + "}" + closing + "\n"
                self.assertEqual(found({"io/a.cpp": text}), expected, signature)

    def test_what_is_no_function(self):
        body = "  // line\n" * 100
        for signature in ("namespace a::b {", "struct A : B<int> {", "enum class E : int {", "int table[] = {",
                          "class alignas(64) A final {", "extern \"C\" {", "template <class T> struct A<T*> {"):
            self.assertEqual(found({"io/a.cpp": signature + "\n" + body + "};\n"}), [], signature)

    def test_the_name_of_a_function(self):
        source = Source("io/a.cpp", "namespace n {\nint A::f(int x) const {\n}\nB::B() : x_{1} {\n}\n}\n")
        self.assertEqual(list(source.functions()), [("A::f", 2, 3), ("B::B", 4, 5)])

    def test_branches_of_the_preprocessor_do_not_unbalance_braces(self):
        text = "#if A\nvoid f(int x) {\n#else\nvoid f() {\n#endif\n}\nvoid g() {\n}\n"
        self.assertEqual([name for name, _, _ in Source("io/a.cpp", text).functions()], ["f", "g"])


class Awaits(unittest.TestCase):
    def test_plain_forms_pass(self):
        for statement in ("co_await g();", "auto y = co_await g(x);", "auto&& y = co_await g();",
                          "const auto y = co_await ok(s.read(b));", "auto [a, b] = co_await g();",
                          "int y = co_await g();", "x = co_await g();", "co_return co_await g();",
                          "(void)co_await g();", "for (;;) {\n co_await g();\n}", "if (x) co_await g();",
                          "if (x) {} else co_await g();", "items[h(1, 2)] = co_await g();",
                          "switch (x) { case 1: co_await g(); break; default: co_await h(); }",
                          "[[maybe_unused]] auto y = co_await g();", "*p = co_await g();",
                          "g([] { return 1; }); co_await h();", "while (true) x = co_await g();",
                          "static_cast<void>(co_await g());", "auto y = h(); co_await g(y);",
                          "Result<void> y = co_await g();", "std::vector<int> v{1, 2}; co_await g(v);"):
            self.assertEqual(in_body(statement), [], statement)

    def test_more_than_one(self):
        self.assertIn("await-many", in_body("auto y = co_await co_await g();"))
        self.assertIn("await-many", in_body("auto y = co_await g(co_await h());"))
        self.assertEqual(in_body("auto y = co_await g(); auto z = co_await h();"), [])

    def test_in_a_condition(self):
        for statement in ("if (co_await g()) {}", "while (co_await g()) {}", "switch (co_await g()) {}",
                          "if (auto y = co_await g(); y) {}", "for (auto& y : co_await g()) {}",
                          "for (auto y = co_await g(); y; ++y) {}", "if constexpr (true) while (!co_await g()) {}"):
            self.assertEqual(in_body(statement), ["await-condition"], statement)

    def test_in_braces(self):
        for statement in ("auto y = Pair{co_await g(), 1};", "int y[] = {co_await g()};", "int y{co_await g()};",
                          "h({.a = co_await g()});"):
            self.assertEqual(in_body(statement), ["await-in-braces"], statement)

    def test_braces_among_the_arguments(self):
        for statement in ("co_await g({1, 2});", "co_await g(Pair{1, 2});", "auto y = co_await ok(g(x, A{x}));",
                          "co_await Sleep{x};", "co_await g({});"):
            self.assertEqual(in_body(statement), ["await-braces"], statement)
        for statement in ("co_await g({.size = 1});", "co_await g(Options{.size = 1, .part = {1}});",
                          "co_await g([](int y) { return A{y}; });"):
            self.assertEqual(in_body(statement), [], statement)

    def test_capturing_lambdas(self):
        self.assertEqual(in_body("co_await g([x] { return x; });"), ["await-lambda"])
        self.assertEqual(in_body("auto f = [x] { return x; };\nco_await g(f);"), [])
        self.assertEqual(in_body("auto f = [&]() -> Task<void> { co_return; };"), ["coroutine-lambda"])
        self.assertEqual(in_body("auto f = [this](int y) mutable -> Task<int> {\n co_await g();\n co_return y;\n};"),
                         ["coroutine-lambda"])
        self.assertEqual(in_body("auto f = [](int y) -> Task<int> { co_return y; };"), [])
        self.assertEqual(in_body("auto f = [&] { return [](int y) -> Task<int> { co_return y; }; };"), [])
        self.assertEqual(in_body("int a[3]; a[x] = 1; co_return;"), [])

    def test_elsewhere(self):
        for statement in ("return_it(co_await g());", "auto y = 1 + co_await g();", "auto y = !co_await g();",
                          "auto y = x ? 1 : co_await g();", "auto y = (co_await g()).size();", "x += co_await g();",
                          "auto y(co_await g());", "x && co_await g();"):
            self.assertEqual(in_body(statement), ["await-position"], statement)

    def test_words_in_comments_literals_and_macros_are_none(self):
        for statement in ("// if (co_await g())", "/* f(co_await g()) */", 'log("if (co_await g())");',
                          'log(R"x(if (co_await "g()))x");', "x = 1'000'000; // it's co_await f(co_await g())",
                          "#define AWAIT(x) f(co_await \\\n  co_await x)", "c = '\"'; // if (co_await g()) \""):
            self.assertEqual(in_body(statement), [], statement)
        self.assertEqual(found({"io/a.h": HEADER + "struct A { auto operator co_await() && noexcept { return 1; } };"}),
                         [])


class Listed(unittest.TestCase):
    def test_a_source_is_in_a_build_file(self):
        files = {"io/meson.build": "files('a.cpp', 'sim/b.cpp')  # 'c.cpp'\n", "io/a.cpp": "", "io/sim/b.cpp": ""}
        self.assertEqual(found(files), [])
        self.assertEqual(found(files | {"io/c.cpp": ""}), ["unlisted"])


class Exceptions(unittest.TestCase):
    files = {"io/a.cpp": "int x;\n" * 501, "io/b.cpp": "//" + "x" * 130 + "\n"}
    name = "tests/tidy/exceptions.txt"

    def test_an_entry_allows_a_finding(self):
        entries = "# comment\n\nfile-length | io/a.cpp | io/a.cpp | a table\nline-length | io/b.cpp | xxx | a | b\n"
        self.assertEqual(found(self.files | {self.name: entries}), [])

    def test_a_stale_entry_fails(self):
        entries = "file-length | io/a.cpp | io/a.cpp | a table\nline-length | io/b.cpp | yyy | why\n"
        self.assertEqual(sorted(found(self.files | {self.name: entries})), ["exceptions", "line-length"])

    def test_a_malformed_entry_fails(self):
        for entry in ("file-length | io/a.cpp | io/a.cpp", "length | io/a.cpp | x | y", "file-length | io/a.cpp | x |"):
            self.assertIn("exceptions", found(self.files | {self.name: entry + "\n"}))


if __name__ == "__main__":
    unittest.main()
