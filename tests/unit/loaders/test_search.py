"""Which function answers a question, and how the statement reads."""

from pathlib import Path

import pytest
from pgcad_load.search import Question, SearchError, as_typed, call_of


def typed(**given: object) -> str:
    return as_typed(*call_of(Question(**given)))  # type: ignore[arg-type]


def test_a_text_is_quoted_as_sql() -> None:
    assert typed(text="3/8' bolt; drop", k=5) == "select * from search_cad('3/8'' bolt; drop', k => 5);"


def test_family_filters_and_options_appear_only_when_given() -> None:
    statement = typed(text="nut", family="hex_nut", filters={"material": "steel"}, options={"against": "text"})
    assert statement == (
        "select * from search_cad('nut', k => 10, family => 'hex_nut', "
        """filters => '{"material": "steel"}', options => '{"against": "text"}');"""
    )


def test_a_picture_is_read_by_psql(tmp_path: Path) -> None:
    picture = tmp_path / "a b.png"
    picture.write_bytes(b"\x89PNG")
    assert typed(image=picture).splitlines() == [
        r"\set image `base64 --wrap=0 'a b.png'`",
        "select * from search_cad_image(decode(:'image', 'base64'), k => 10);",
    ]


@pytest.mark.parametrize(
    ("name", "typable"),
    [("plain.png", "plain.png"), ("it's; rm -rf.png", """'it'"'"'s; rm -rf.png'"""), ("$(x).png", "'$(x).png'")],
)
def test_a_file_name_is_quoted_for_the_shell_that_psql_calls(tmp_path: Path, name: str, typable: str) -> None:
    picture = tmp_path / name
    picture.write_bytes(b"\x89PNG")
    assert typed(image=picture).splitlines()[0] == rf"\set image `base64 --wrap=0 {typable}`"


@pytest.mark.parametrize("name", ["back`tick`.png", "new\nline.png", "bell\a.png"])
def test_a_file_name_that_psql_cannot_quote_is_left_to_the_reader(tmp_path: Path, name: str) -> None:
    picture = tmp_path / name
    picture.write_bytes(b"\x89PNG")
    assert typed(image=picture).splitlines()[0] == r"\set image `base64 --wrap=0 path/of/the/file`"


def test_several_together_are_one_search(tmp_path: Path) -> None:
    file = tmp_path / "a.STP"
    file.write_bytes(b"ISO-10303-21;")
    function, arguments = call_of(Question(text="bolt", file=file))
    assert function == "search_cad_multi"
    assert [(argument.name, argument.value) for argument in arguments] == [
        ("query", "bolt"), ("file", b"ISO-10303-21;"), ("format", "step"), ("k", 10),
    ]  # fmt: skip
    assert as_typed(function, arguments).endswith(
        "search_cad_multi(query => 'bolt', file => decode(:'file', 'base64'), format => 'step', k => 10);"
    )


def test_points_are_an_array_of_n_by_3(tmp_path: Path) -> None:
    cloud = tmp_path / "a.xyz"
    cloud.write_text("1 2 3 0.5\n4 5 6 0.5\n7 8 10 0.5\n0 0 0 1\n")
    function, arguments = call_of(Question(points=cloud))
    assert function == "search_cad_points"
    assert arguments[0].value == [[1, 2, 3], [4, 5, 6], [7, 8, 10], [0, 0, 0]]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.xyz", "1 2\n", "one point a line"),
        ("a.xyz", "one two three\n", "one point a line"),
        ("a.xyz", "\n", "it is empty"),
        ("a.xyz", "1 2 3\n", "at least 4 points"),
        ("a.xyz", "1 2 3\n4 5 nan\n7 8 10\n0 0 0\n", "not finite"),
        ("a.npy", "no", "npy file cannot be read"),
        ("a.npy", "", "npy file cannot be read"),
    ],
)
def test_a_bad_cloud_says_what_to_give(tmp_path: Path, name: str, content: str, says: str) -> None:
    cloud = tmp_path / name
    cloud.write_text(content)
    with pytest.raises(SearchError, match=says):
        call_of(Question(points=cloud))


def test_questions_that_cannot_be_put(tmp_path: Path) -> None:
    unknown = tmp_path / "a.dwg"
    unknown.write_bytes(b"AC1032")
    for question, says in [
        (Question(), "Nothing to look for"),
        (Question(file=unknown), "unknown kind of file"),
        (Question(text="bolt", points=unknown), "searched alone"),
    ]:
        with pytest.raises(SearchError, match=says):
            call_of(question)
