"""What the drives are told where chunks, stops and resumes meet a true controller.

The policy's loop runs against the model of joint_trajectory_controller that the simulation has
(evo1_sim/controller.py: 150 Hz, xarm6_controllers.yaml) and an arm that lags by 40 ms, in
simulated time: on time, with 20 ms of delay, with 50 ms of skew, with the controller switched off
and on in motion, and with a standing error of 30 mrad. In each a person pauses and resumes.
"""

from figures import ROBOTS, bench_parser, merge_figures, print_figures

from evo1_policy.robot_config import load_robot
from evo1_sim.closed_loop import SITUATIONS, rehearse


def main() -> int:
    """Rehearse each situation, print the table, write the figures."""
    parser = bench_parser(__doc__, quick="the same: it takes seconds")
    parser.add_argument("--robot", default="xarm6", choices=("xarm6", "so100"))
    arguments = parser.parse_args()
    robot = load_robot(ROBOTS / f"{arguments.robot}.yaml")
    print(f"  {'':24}{'sent':>6}{'step mrad':>11}{'acc/limit':>11}{'own mrad':>10}  held for")
    worst = []
    for situation in SITUATIONS:
        seams = rehearse(robot, situation)
        worst.append(seams)
        held = ", ".join(reason for reason in dict.fromkeys(seams.reasons))
        print(
            f"  {situation.name:24}{seams.sent:6}{seams.step_mrad_max:11.3f}"
            f"{seams.acceleration_ratio_max:11.2f}{seams.own_step_mrad_max:10.2f}  {held}"
        )
    print("  own: steps that the controller makes by itself where it gives up a tolerance")
    figures = {
        "control.seam_position_step_mrad_max": max(seams.step_mrad_max for seams in worst),
        "control.seam_acceleration_ratio_max": max(
            seams.acceleration_ratio_max for seams in worst
        ),
    }
    print_figures(figures)
    merge_figures(arguments.json, figures)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
