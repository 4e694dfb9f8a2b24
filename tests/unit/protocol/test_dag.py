"""DAG values: what a task takes in."""

from headway.protocol.dag import Argv, OutputRef, Shell, Task, output_sources


def test_a_task_takes_in_its_inputs_and_the_outputs_among_its_arguments():
    """Text arguments and scripts refer to nothing."""
    argv = Argv(args=("load", OutputRef(task_id="a"), OutputRef(task_id="b", path=("rows", 0))))
    assert output_sources(Task(task_id="t", command=argv, inputs=("b", "c"))) == {"a", "b", "c"}
    assert output_sources(Task(task_id="t", command=Shell(script="a"))) == set()
