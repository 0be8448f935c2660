from __future__ import annotations

import asyncio
import threading

import pytest

from sipsimple.loop import (
    Failure,
    LoopThread,
    Result,
    TaskOwner,
    bind_loop,
    bound_loop,
    in_loop_thread,
    run_in_loop,
    run_in_loop_or_now,
    unbind_loop,
)


@pytest.fixture
def loop_thread():
    thread = LoopThread()
    thread.start()
    yield thread
    thread.stop()


def in_loop(function) -> Result:
    """Call the function in the loop thread; the result is what it returns or raises."""
    result: Result = Result()

    def call() -> None:
        try:
            result.set_result(function())
        except Exception as error:  # noqa: BLE001
            result.set_exception(error)

    run_in_loop(call)
    return result


def test_a_failure_is_an_exception_as_a_value():
    try:
        raise LookupError("broken")
    except LookupError as error:
        failure = Failure(error)
    assert failure.type is LookupError
    assert failure.getErrorMessage() == "broken"
    assert "LookupError: broken" in failure.getTraceback()
    assert "test_loop.py" in failure.getTraceback()
    assert repr(failure) == "Failure(LookupError('broken'))"


def test_only_the_first_outcome_counts():
    result: Result[int] = Result()
    assert not result.done()
    result.set_result(1)
    result.set_result(2)
    result.set_exception(LookupError())
    assert result.done()
    assert result.wait() == 1
    failed: Result[int] = Result()
    failed.set_exception(LookupError("broken"))
    failed.set_result(1)
    with pytest.raises(LookupError, match="broken"):
        failed.wait(0)


def test_waiting_has_a_limit():
    with pytest.raises(TimeoutError):
        Result().wait(0)


def test_callbacks_are_told_before_and_after():
    result: Result[int] = Result()
    told = []
    result.add_done_callback(told.append)
    result.set_result(1)
    result.add_done_callback(told.append)
    assert told == [result, result]


async def test_a_result_is_awaited_in_any_loop():
    result: Result[str] = Result()
    threading.Thread(target=result.set_result, args=("done",)).start()
    async with asyncio.timeout(10):
        assert await result == "done"
        assert await result == "done"
    failed: Result[str] = Result()
    failed.set_exception(LookupError("broken"))
    with pytest.raises(LookupError, match="broken"):
        await failed


async def test_giving_up_the_await_does_not_stop_the_work():
    result: Result[int] = Result()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await result
    assert not result.done()
    result.set_result(1)
    assert await result == 1


def test_waiting_in_the_loop_thread_is_refused(loop_thread):
    with pytest.raises(RuntimeError, match="use `await`"):
        in_loop(Result().wait).wait(10)
    settled: Result[int] = Result()
    settled.set_result(1)
    assert in_loop(settled.wait).wait(10) == 1


async def test_a_task_owner_ends_its_tasks():
    owner = TaskOwner("owner")
    ended = []

    async def work(name):
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    tasks = [owner.spawn(work("a")), owner.spawn(work("b"))]
    assert tasks[0].get_name() == "owner: test_a_task_owner_ends_its_tasks.<locals>.work"
    await asyncio.sleep(0)
    owner.cancel()
    await owner.close()
    assert sorted(ended) == ["a", "b"], "a second request to end does not disturb the cleaning up"
    assert all(task.cancelled() for task in tasks)
    await owner.close()


async def test_a_task_that_is_spawned_while_closing_ends_too():
    owner = TaskOwner("owner")
    late = []

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            late.append(owner.spawn(asyncio.Event().wait()))

    owner.spawn(work())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await owner.close()
    assert late[0].cancelled()


async def test_a_task_may_close_its_own_owner():
    owner = TaskOwner("owner")
    other = owner.spawn(asyncio.Event().wait())
    closing = owner.spawn(owner.close())
    async with asyncio.timeout(10):
        await closing
    assert other.cancelled()


async def test_a_failure_of_a_task_goes_to_the_exception_handler():
    owner = TaskOwner("owner")
    contexts = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))

    async def fail():
        raise LookupError("broken")

    task = owner.spawn(fail())
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert isinstance(contexts[0]["exception"], LookupError)
    assert "owner: " in contexts[0]["message"]


def test_without_a_loop_the_door_is_closed():
    with pytest.raises(RuntimeError, match="nothing runs"):
        bound_loop()
    with pytest.raises(RuntimeError, match="nothing runs"):
        run_in_loop(print)
    assert not in_loop_thread()


def test_the_door_leads_to_the_loop_thread(loop_thread):
    assert bound_loop() is loop_thread.loop
    assert not in_loop_thread()
    assert in_loop(in_loop_thread).wait(10) is True


def test_what_needs_no_loop_is_called_in_it_when_there_is_one():
    calls: list[bool] = []
    run_in_loop_or_now(lambda: calls.append(in_loop_thread()))
    thread = LoopThread()
    thread.start()
    run_in_loop_or_now(lambda: calls.append(in_loop_thread()))
    thread.stop()
    assert calls == [False, True]


def test_in_the_loop_thread_the_call_is_made_at_once(loop_thread):
    calls = []

    def nested():
        run_in_loop(calls.append, 1)
        return list(calls)

    assert in_loop(nested).wait(10) == [1]


def test_calls_of_one_thread_keep_their_order(loop_thread):
    calls = []
    for number in range(100):
        run_in_loop(calls.append, number)
    in_loop(lambda: None).wait(10)
    assert calls == list(range(100))


def test_a_second_loop_is_refused(loop_thread):
    second = LoopThread()
    with pytest.raises(RuntimeError, match="another event loop"):
        second.start()
    assert second.loop.is_closed()


async def test_the_loop_of_the_caller_can_be_bound():
    loop = asyncio.get_running_loop()
    bind_loop(loop)
    bind_loop(loop)
    assert in_loop_thread()
    assert bound_loop() is loop
    unbind_loop(loop)
    assert not in_loop_thread()


async def say_goodbye(to):
    try:
        await asyncio.Event().wait()
    finally:
        run_in_loop(lambda: to.append(in_loop_thread()))


def test_stopping_ends_tasks_and_may_be_repeated():
    thread = LoopThread()
    thread.start()
    ended = threading.Event()

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    owner = TaskOwner("owner")
    in_loop(lambda: owner.spawn(work())).wait(10)
    in_loop(lambda: None).wait(10)
    # What ends may still use the door.
    last = []
    in_loop(lambda: owner.spawn(say_goodbye(last))).wait(10)
    thread.stop()
    assert ended.is_set()
    assert last == [True]
    assert thread.loop.is_closed()
    thread.stop()
    with pytest.raises(RuntimeError, match="nothing runs"):
        bound_loop()


def test_stopping_in_the_loop_thread_does_not_wait_for_itself():
    thread = LoopThread()
    thread.start()
    in_loop(thread.stop).wait(10)
    thread.stop()
    assert thread.loop.is_closed()


def test_the_close_of_the_loop_is_told():
    thread = LoopThread()
    thread.start()
    told = []
    thread.when_closed(lambda: told.append(thread.loop.is_closed()))
    thread.stop()
    assert told == [True]


def test_stopping_before_the_start_closes_the_loop():
    thread = LoopThread()
    thread.stop()
    assert thread.loop.is_closed()
