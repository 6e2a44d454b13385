"""The schedules can be switched off, as a person does it on the Automation page."""

from shop_streams_tests.harness import Stack

STATE = """query($s: ScheduleSelector!) { scheduleOrError(scheduleSelector: $s) { ... on Schedule {
    id scheduleState { status } } } }"""
STOP = "mutation($id: String!) { stopRunningSchedule(id: $id) { __typename ... on PythonError { message } } }"
START = "mutation($s: ScheduleSelector!) { startSchedule(scheduleSelector: $s) { __typename ... on PythonError { message } } }"


def test_a_schedule_is_a_switch(stack: Stack) -> None:
    selector = {
        "repositoryLocationName": "shop_streams",
        "repositoryName": "__repository__",
        "scheduleName": "daily_maintenance_at_night",
    }

    def schedule() -> tuple[str, str]:
        found = stack.graphql(STATE, s=selector)["scheduleOrError"]
        return found["id"], found["scheduleState"]["status"]

    number, before = schedule()
    assert before == "RUNNING"
    stack.graphql(STOP, id=number)
    assert schedule()[1] == "STOPPED"
    stack.graphql(START, s=selector)
    assert schedule()[1] == "RUNNING"
