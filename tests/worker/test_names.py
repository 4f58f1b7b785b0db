"""Names of the notebook in a cell's process: which go in, which are asked for when they lack, which come back."""

from __future__ import annotations

from tests.worker.conftest import wait_until


def provide(server, attempt, **values):
    need = attempt.wait_message("need")
    present = {name: values[name] for name in need["names"] if name in values}
    digest = server.snapshot(present) if present else None
    names = {name: ("sent" if name in values else None) for name in need["names"]}
    assert attempt.send(op="provide", names=names, snapshot=digest)["ok"]
    return need["names"]


def provide_all(server, attempt, **values):
    need = attempt.wait_message("need")
    digest = server.snapshot(values)
    assert attempt.send(op="provide", names={"*": digest}, snapshot=digest)["ok"]
    return need["names"]


def test_names_go_in_and_changes_come_out(server):
    attempt = server.cell("y = x + 1\nitems.append(4)\ndel gone", {"x": 41, "items": [1], "gone": 0, "kept": "same"})
    result = attempt.result()
    assert result["status"] == "ok", result
    assert sorted(result["changed"]) == ["items", "y"]
    assert result["deleted"] == ["gone"]
    values = attempt.values()
    assert (values["y"], values["items"]) == (42, [1, 4])


def test_nothing_leaks_from_one_cell_to_the_next(server):
    assert server.cell("leak = 1\nimport os; os.environ['LEAK'] = '1'").result()["status"] == "ok"
    attempt = server.cell("import os\n('leak' in globals(), 'LEAK' in os.environ)")
    assert provide(server, attempt) == ["leak"]
    attempt.result()
    assert attempt.of_type("execute_result")[0]["data"]["text/plain"] == "(False, False)"


def test_an_exception_stores_nothing(server):
    attempt = server.cell("x = 2\nraise RuntimeError('no')", {"x": 1})
    result = attempt.result()
    assert (result["status"], result["snapshot"], result["changed"]) == ("error", None, [])


def test_a_changed_name_that_cannot_be_saved_is_named(server):
    attempt = server.cell("good = 1\nbad = (i for i in range(3))")
    result = attempt.result()
    assert result["status"] == "ok"
    assert result["changed"] == ["good"]
    assert "bad" in result["unsaved"]


def test_missing_blob_fails_before_user_code_begins(server):
    attempt = server.start(server.make("cell", {"code": "1", "snapshot": "0" * 64}))
    result = attempt.result()
    assert result["status"] == "error"
    assert not (attempt.folder / "started").exists()
    assert attempt.of_type("error")


def test_a_missing_name_is_fetched_inside_functions(server):
    attempt = server.cell("def f():\n    return [total + i for i in range(2)]\nresult = f()\nresult")
    assert provide(server, attempt, total=40) == ["total"]
    result = attempt.result()
    assert result["status"] == "ok", attempt.messages()
    assert result["changed"] == ["f", "result"]
    assert attempt.values()["result"] == [40, 41]


def test_a_missing_name_is_fetched_in_eval(server):
    attempt = server.cell("def f():\n    return eval('hid' + 'den')\nf()")
    provide(server, attempt, hidden="found")
    assert attempt.result()["status"] == "ok"
    assert attempt.of_type("execute_result")[0]["data"]["text/plain"] == "'found'"


def test_names_in_texts_are_fetched_before_the_cell_begins(server):
    code = """
import pandas
frame = pandas.DataFrame({'a': [1, 2, 3]})
!echo hello {word}
len(frame.query('a > @limit'))
"""
    attempt = server.cell(code)
    assert sorted(provide(server, attempt, limit=1, word="village")) == ["limit", "word"]
    assert attempt.result()["status"] == "ok", attempt.messages()
    assert "hello village" in attempt.text()
    assert attempt.of_type("execute_result")[0]["data"]["text/plain"] == "2"


def test_a_look_at_all_names_brings_all_but_what_is_here_or_deleted(server):
    code = "mine = 1\ndel gone\nsorted((n, v) for n, v in globals().items() if n in ('mine', 'gone', 'theirs'))"
    attempt = server.cell(code, {"gone": 0})
    assert provide_all(server, attempt, mine=9, gone=9, theirs=[2]) == ["*"]
    result = attempt.result()
    assert attempt.of_type("execute_result")[0]["data"]["text/plain"] == "[('mine', 1), ('theirs', [2])]"
    assert (result["changed"], result["deleted"]) == (["mine"], ["gone"])


def test_a_name_that_the_kernel_has_not_is_a_name_error(server):
    attempt = server.cell("for _ in range(2):\n    try:\n        absent\n    except NameError as e:\n        print(e)")
    provide(server, attempt)
    assert attempt.result()["status"] == "ok"
    assert attempt.text() == "name 'absent' is not defined\n" * 2
    assert len(attempt.of_type("need")) == 1


def test_a_kernel_that_does_not_answer_is_not_waited_for_without_end(server):
    attempt = server.cell("absent", payload={"provide_timeout_s": 0.2})
    result = attempt.result()
    assert result["error"]["ename"] == "NameError"
    assert "did not send it within 0.2 s" in result["error"]["evalue"]


def test_a_name_that_was_not_sent_in_time_can_be_asked_for_again(server):
    code = """
while True:
    try:
        print(late)
        break
    except NameError:
        print('not yet')
"""
    attempt = server.cell(code, payload={"provide_timeout_s": 0.05})
    wait_until(lambda: len(attempt.of_type("need")) > 2)
    wait_until(
        lambda: attempt.send(op="provide", names={"late": "sent"}, snapshot=server.snapshot({"late": "here"}))["ok"]
    )
    assert attempt.result()["status"] == "ok"
    assert attempt.text().endswith("here\n")


def test_the_last_value_goes_back_by_name_or_as_a_copy(server):
    attempt = server.cell("import numpy\na = numpy.zeros(5)\na")
    assert attempt.result()["last_name"] == "a"
    attempt = server.cell("[1, 2]")
    assert attempt.result()["changed"] == []
    assert list(attempt.values().values()) == [[1, 2]]


def test_functions_of_the_notebook_see_what_the_cell_assigns(server):
    code = "scale = 3\ndef triple(x):\n    return x * scale\n"
    first = server.cell(code)
    digest = first.result()["snapshot"]
    attempt = server.start(server.make("cell", {"code": "scale = 10\ntriple(2)", "snapshot": digest}))
    attempt.result()
    assert attempt.of_type("execute_result")[0]["data"]["text/plain"] == "20"
