"""HTML of a model: nothing that runs, loads or leads astray is left, and text stays text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel_pipelines.production.html_text import sanitised, text_of_html


@pytest.mark.parametrize(
    ("given_html", "expected"),
    [
        ("<p>Plain <strong>and</strong> good.</p>", "<p>Plain <strong>and</strong> good.</p>"),
        ("<p onclick='x()' style=color:red>Hi</p>", "<p>Hi</p>"),
        ("<script>alert(1)</script><p>Hi</p>", "<p>Hi</p>"),
        ("<style>p{}</style>Hi<iframe src=//evil.example></iframe>", "Hi"),
        ("<svg><p onload=x>a</p></svg>b", "b"),
        ('<a href="https://example.com/?a=1&amp;b=2">shop</a>', '<a href="https://example.com/?a=1&amp;b=2">shop</a>'),
        ("<a href='javascript:alert(1)'>shop</a>", "shop"),
        ("<a href='jAva\tscript:alert(1)'>shop</a>", "shop"),
        ("<a href='&#106;avascript:alert(1)'>shop</a>", "shop"),
        ("<a href='data:text/html,x'>shop</a>", "shop"),
        ("<p>one<p>two", "<p>one<p>two</p></p>"),
        ("<em>never closed", "<em>never closed</em>"),
        ("</p>closed twice</em>", "closed twice"),
        ("5 < 6 & 7 > 2", "5 &lt; 6 &amp; 7 &gt; 2"),
        ("<img src=x onerror=alert(1)>text", "text"),
        ("<h1>Head</h1>", "Head"),
        ("<p>بيت ☕ café</p><!-- note -->", "<p>بيت ☕ café</p>"),
    ],
)
def test_what_may_stay(given_html: str, expected: str) -> None:
    assert sanitised(given_html) == expected


PIECES = st.sampled_from(
    ["<p>", "</p>", "<script>", "</script>", "<a href='javascript:x'>", "</a>", "<", ">", "&lt;script&gt;", "&#60;",
     '"', "<b onclick=x>", "<!--", "-->", "<svg/onload=x>", "]]>", "<![CDATA[", "\x00", "<scr", "ipt>", "&amp;"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=14).map("".join))
@settings(max_examples=400, deadline=None)
def test_whatever_comes_in_nothing_runs_and_sanitising_twice_changes_nothing(text: str) -> None:
    safe = sanitised(text)
    assert sanitised(safe) == safe
    lowered = safe.casefold()
    for forbidden in ("<script", "<svg", "onclick=x>", "javascript:x'>", "<!"):
        assert forbidden not in lowered
    assert safe.count("<p>") == safe.count("</p>")


def test_a_reader_sees_lines_without_markup() -> None:
    assert text_of_html("<p>One &amp;  two.</p><ul><li>a</li><li><b>b</b></li></ul>") == "One & two.\na\nb"
