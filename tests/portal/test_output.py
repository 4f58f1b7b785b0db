"""A job's messages as blocks, and the window on a long output."""

from dure.portal.output import SHOWN_CHARS_MAX, SHOWN_MAX, blocks_of, tail
from dure.wire.messages import OutputList


def says(text, name="stdout"):
    return {"type": "stream", "name": name, "text": text}


def shows(display_id=None, kind="display_data", **data):
    kinds = {"plain": "text/plain", "png": "image/png", "html": "text/html", "svg": "image/svg+xml"}
    message = {"type": kind, "data": {kinds[name]: value for name, value in data.items()}}
    return message | {"transient": {"display_id": display_id}} if display_id else message


def seen(*messages):
    return [(block.kind, str(block.markup)) for block in blocks_of(messages)[0]]


def test_pieces_of_one_stream_are_one_text_and_streams_are_told_apart():
    assert seen(says("a"), says("b\n"), says("!", "stderr"), says("c")) == [
        ("text", "ab\n"),
        ("stderr", "!"),
        ("text", "c"),
    ]


def test_a_carriage_return_in_a_later_message_rewrites_the_line():
    assert seen(says("10%"), says("\r20%")) == [("text", "20%")]


def test_clearing_at_once_and_clearing_with_the_next():
    assert seen(says("old"), {"type": "clear_output", "wait": False}) == []
    assert seen(says("old"), {"type": "clear_output", "wait": True}) == [("text", "old")]
    assert seen(says("old"), {"type": "clear_output", "wait": True}, says("new")) == [("text", "new")]


def test_a_display_is_updated_where_it_stands():
    first, second = shows("d1", plain="0"), shows("d1", kind="update_display_data", plain="1")
    assert seen(first, says("x"), second) == [("text", "1\n"), ("text", "x")]


def test_html_and_svg_are_never_passed_on():
    assert seen(shows(html="<script>x</script>")) == [("html", "")]
    assert seen(shows(svg="<svg onload=x>")) == [("html", "")]
    assert seen(shows(html="<b>7</b>", plain="7")) == [("text", "7\n")]


def test_only_what_is_base64_becomes_a_picture():
    (block,) = blocks_of([shows(png="aGk=\n", plain="a figure")])[0]
    assert (block.kind, block.source, block.text) == ("picture", "data:image/png;base64,aGk=", "a figure")
    assert seen(shows(png='"><script>', plain="a figure")) == [("text", "a figure\n")]


def test_errors_cuts_and_questions_are_told():
    error = {"type": "error", "ename": "E", "evalue": "v", "traceback": ["\x1b[31mE\x1b[0m", "v"]}
    assert seen(error) == [("error", '<span class="t-f1">E</span>\nv')]
    assert seen({"type": "error", "ename": "E", "evalue": "v", "traceback": []}) == [("error", "E: v")]
    assert [
        kind for kind, _ in seen({"type": "cut", "dropped_bytes": 5}, {"type": "input_request", "prompt": "?"})
    ] == [
        "cut",
        "input",
    ]
    assert seen({"type": "need", "names": ["x"]}, {"type": "end", "status": "ok"}, {"type": "of the future"}) == []


def printed(count, done=True):
    messages = [
        {"attempt": 1, "seq": n, "type": "stream", "name": "stdout", "text": f"{n}\n"} for n in range(1, count + 1)
    ]
    asked = []

    def read(cursor, limit):
        asked.append(cursor)
        after = int(cursor.partition(".")[2]) if cursor else 0
        page = messages[after : after + limit]
        last = page[-1]["seq"] if page else after
        return OutputList(messages=page, cursor=f"1.{last}", done=done and last == count)

    return read, asked


def test_a_short_output_is_whole():
    read, _ = printed(3)
    found = tail(read, None)
    assert (found.begin, found.end, found.cut, found.done) == ("1.0", "1.3", False, True)
    assert str(found.blocks[0].markup) == "1\n2\n3\n"


def test_a_long_output_shows_its_end_and_is_followed_from_there():
    read, _ = printed(1700, done=False)
    found = tail(read, None)
    assert found.cut
    assert found.begin == f"1.{1700 - SHOWN_MAX}"
    assert str(found.blocks[0].markup).startswith(f"{1700 - SHOWN_MAX + 1}\n")
    read, asked = printed(1702, done=False)
    later = tail(read, found.begin)
    assert asked[0] == found.begin
    assert later.begin == f"1.{1702 - SHOWN_MAX}"


def test_no_output_is_no_output():
    read, _ = printed(0, done=False)
    assert tail(read, None).blocks == []


def test_all_pictures_together_have_a_limit_and_the_last_ones_stay():
    picture = "A" * (SHOWN_CHARS_MAX // 3)
    blocks, whole = blocks_of([*(shows(png=picture) for _ in range(9)), says("end")])
    assert ([block.kind for block in blocks], whole) == (["picture", "picture", "text"], False)
