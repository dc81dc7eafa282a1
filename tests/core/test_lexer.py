"""The tokeniser: what a statement is, and which edits of a script change nothing."""

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwstore.core.lexer import (
    Statement,
    UnfinishedTextError,
    checksum,
    normalised,
    split,
    spoken,
    tokens,
)

GAPS = st.lists(
    st.sampled_from([" ", "\n", "\r\n", "\t\ufeff", "/* ; ' */", "\f-- ; ' \" END\n", "/**/"]),
    min_size=1,
    max_size=3,
).map("".join)
PLAIN = st.text("abEND_x$é€😀", min_size=1, max_size=5)
MEANING = st.one_of(
    PLAIN,
    st.sampled_from(["CREATE", "trigger", "TEMP", "BEGIN", "END", "CASE", "SELECT", ";", ";"]),
    st.sampled_from(
        ["12", "0xFF", "1.5e-3", ".5", "1_000", "->>", "->", "||", "<=", "(", ")", "*"]
    ),
    st.sampled_from([":id", "@id", "$id", "?1", "-", "/", "%"]),
    st.text('a-;*/\n"\0'[:-1], max_size=6).map(lambda s: f"'{s}'"),
    st.text("a;-'", max_size=6).map(lambda s: f'"{s}"'),
    st.text("a;-'", max_size=6).map(lambda s: f"[{s}]"),
    st.text("a;-'", max_size=6).map(lambda s: f"`{s}`"),
    st.just("x'0aFF'"),
    st.just("'it''s -- not a comment'"),
)
MEANINGS = st.lists(MEANING, max_size=30)


def laid_out(meanings: list[str], gaps: list[str]) -> str:
    """The tokens with gaps before, between and after them."""
    return "".join(gap + word for gap, word in zip(gaps, [*meanings, ""], strict=True))


def gaps_for(meanings: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(GAPS, min_size=len(meanings) + 1, max_size=len(meanings) + 1)


@given(st.text("aE;'\"`[]-/*\n\r .1x:\0é", max_size=60))
def test_no_character_of_any_text_is_lost(sql: str) -> None:
    try:
        pieces = [token.text for token in tokens(sql)]
    except UnfinishedTextError:
        return
    assert "".join(pieces) == sql


@given(st.data())
def test_the_tokens_are_found_again_in_any_layout(data: st.DataObject) -> None:
    meanings = data.draw(MEANINGS)
    sql = laid_out(meanings, data.draw(gaps_for(meanings)))
    assert [token.text for token in spoken(sql)] == meanings


@given(st.data())
def test_layout_does_not_change_the_checksum(data: st.DataObject) -> None:
    meanings = data.draw(MEANINGS)
    one, other = (laid_out(meanings, data.draw(gaps_for(meanings))) for _ in range(2))
    assert checksum(one) == checksum(other)


@given(st.data())
def test_any_other_token_changes_the_checksum(data: st.DataObject) -> None:
    meanings = data.draw(st.lists(MEANING, min_size=1, max_size=30))
    place = data.draw(st.integers(0, len(meanings) - 1))
    other = data.draw(MEANING.filter(lambda word: word != meanings[place]))
    edited = [*meanings[:place], other, *meanings[place + 1 :]]
    shorter = [*meanings[:place], *meanings[place + 1 :]]
    sums = {checksum(" ".join(words)) for words in (meanings, edited, shorter)}
    assert len(sums) == 3


@given(st.data())
def test_splitting_keeps_every_token_and_makes_only_complete_statements(
    data: st.DataObject,
) -> None:
    meanings = data.draw(MEANINGS)
    sql = laid_out(meanings, data.draw(gaps_for(meanings)))
    statements = split(sql)
    kept = [token.text for statement in statements for token in spoken(statement.text)]
    assert [word for word in kept if word != ";"] == [word for word in meanings if word != ";"]
    for statement in statements[:-1]:
        assert apsw.complete(statement.text)
    for statement in statements:
        lines = sql.split("\n")[statement.line - 1 :]
        assert statement.text.split("\n", 1)[0] in lines[0] + "\n"


TRIGGER = """CREATE TRIGGER t AFTER INSERT ON a WHEN NEW.x > 1 BEGIN
    -- it; says ' END;
    UPDATE a SET y = CASE WHEN x = ';' THEN 1 ELSE CASE x WHEN 2 THEN 3 END END;
    INSERT INTO b VALUES ('END; it''s', "END", /* ; END; */ 1);
END;"""


def test_statements_are_cut_at_their_semicolons_and_know_their_line() -> None:
    sql = f"-- first; of all\n;;\nSELECT 1; SELECT\n';\n' ;\n\n{TRIGGER}\n/* ; */ drop table a"
    assert split(sql) == [
        Statement("SELECT 1;", 3, "SELECT"),
        Statement("SELECT\n';\n' ;", 3, "SELECT"),
        Statement(TRIGGER, 7, "CREATE"),
        Statement("drop table a", 12, "DROP"),
    ]
    assert split("select 1 \n -- x\n") == [Statement("select 1 \n -- x", 1, "SELECT")]


@pytest.mark.parametrize("start", ["CREATE TEMP", "create temporary", "CREATE /* ; */"])
def test_every_kind_of_trigger_is_kept_whole(start: str) -> None:
    trigger = f"{start} TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; end ;"
    assert [statement.text for statement in split(trigger + "SELECT 3;")] == [trigger, "SELECT 3;"]


def test_a_table_called_trigger_is_no_trigger() -> None:
    sql = 'CREATE TABLE "trigger" (a); CREATE INDEX trigger_ix ON "trigger" (a);'
    assert len(split(sql)) == 2
    assert len(split("CREATE TABLE trigger (a); CREATE INDEX trigger_ix ON trigger (a);")) == 2


def test_a_temporary_table_is_no_trigger() -> None:
    assert len(split("CREATE TEMP TABLE a (b); DROP TABLE a;")) == 2
    assert len(split("CREATE VIEW trigger AS SELECT 1; DROP VIEW trigger;")) == 2
    assert len(split("DROP TRIGGER a; DROP TRIGGER b;")) == 2


def test_a_script_of_comments_has_no_statement() -> None:
    assert split("-- nothing\n/* at all") == []


@pytest.mark.parametrize(
    ("sql", "line", "problem"),
    [
        ("SELECT 1;\nSELECT 'a;\n", 2, "the ' is never closed"),
        ('SELECT "a', 1, 'the " is never closed'),
        ("SELECT `a", 1, "the ` is never closed"),
        ("SELECT\n\n[a", 3, "the [ is never closed"),
        ("SELECT\n\0", 2, "holds U+0000"),
        ("SELECT 1;\n-- ends here:\0\n", 2, "holds U+0000"),
        ("SELECT\n/*\n\0 */ 1", 3, "holds U+0000"),
        ("SELECT '\0'", 1, "holds U+0000"),
        ("\n\0", 2, "holds U+0000"),
        ("\0\n\0", 1, "holds U+0000"),
    ],
)
def test_what_is_never_closed_is_refused_with_its_line(sql: str, line: int, problem: str) -> None:
    with pytest.raises(UnfinishedTextError) as refusal:
        split(sql)
    assert (refusal.value.line, str(refusal.value)) == (line, problem)


def test_the_case_of_a_keyword_and_a_comment_sign_in_a_string_belong_to_the_checksum() -> None:
    sums = {checksum(sql) for sql in ("SELECT 'a'", "select 'a'", "SELECT 'a--'", "SELECT 'a --'")}
    assert len(sums) == 4


@pytest.mark.parametrize(
    ("one", "other"), [("a b", "ab"), ("1 .5", "1.5"), ("< =", "<="), ("x 'a'", "x'a'")]
)
def test_white_space_between_tokens_is_not_white_space_inside_one(one: str, other: str) -> None:
    assert checksum(one) != checksum(other)


def test_normalised_text_forgets_layout_case_and_needless_quotes() -> None:
    assert (
        normalised("CREATE  TABLE \"Tasks\" ([id] TEXT, `a b` X -- c\n, 'It' )")
        == "create table tasks ( id text , `a b` x , 'It' )"
    )
    assert normalised("0XFF 1E5 X'AB'") == "0xff 1e5 X'AB'"


@pytest.mark.parametrize("name", ['"1abc"', '"abc-"', '"-abc"', "[ab c]", "`a`"])
def test_only_a_name_that_needs_no_quotes_loses_them(name: str) -> None:
    bare = name.isascii() and name[1:-1].isidentifier()
    assert normalised(name) == (name[1:-1] if bare else name)
