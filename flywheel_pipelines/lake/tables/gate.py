"""The gate: which frame of the prompt is the champion, which is on trial, and why."""

import pyarrow as pa

from flywheel_pipelines.lake.contracts import TableContract, column
from flywheel_pipelines.lake.tables.types import DAY, REAL, TEXT, WHOLE

PROMPT_GATE = TableContract(
    name="prompt_gate",
    layer="learning",
    description="Every frame in play after the close of a cycle, its comparison with the champion, and the decision.",
    key=("frame_version", "role"),
    schema=pa.schema(
        [
            column("frame_version", TEXT, "The frame, as in `prompt_frames`."),
            column(
                "role",
                TEXT,
                "From the next cycle on: champion, challenger (on trial), predecessor (former champion, kept for a "
                "while after a promotion), control (the treadmill), withheld (prompts of the champion show no "
                "references), or retired (by this close).",
            ),
            column("decision", TEXT, "What this close decided: keep, start, promote, retire or roll_back."),
            column("reason", TEXT, "Why, in words and numbers."),
            column("metric", TEXT, "The floor's metric, which frames are compared by."),
            column(
                "compared_with",
                TEXT,
                "The frame it is compared with: the champion of the cycle; of a champion the one whose comparison "
                "decided; null without a comparison.",
                nullable=True,
            ),
            column("since", DAY, "First cycle of the comparison.", nullable=True),
            column("n_cycles", WHOLE, "Cycles that the comparison has counted."),
            column("n_briefs", WHOLE, "Briefs of this frame that it has counted."),
            column("n_briefs_other", WHOLE, "Briefs of the other frame that it has counted."),
            column("estimate", REAL, "Lift over the other frame, positive meaning better.", nullable=True),
            column("lower", REAL, "Lower end of its interval, valid at all looks; above 0: better.", nullable=True),
            column("upper", REAL, "Upper end of its interval, valid at all looks; below 0: worse.", nullable=True),
            column("evidence", REAL, "How many times more likely than without a difference.", nullable=True),
            column("needed", REAL, "Evidence from which the better side is taken for proven.", nullable=True),
            column("alpha", REAL, "Probability of error of the test on either side, over all looks.", nullable=True),
            column("sums", pa.list_(REAL), "Carried sums of the comparison, in the order of `sequential.CARRIED`."),
            column("predecessor_version", TEXT, "Of a champion: the frame a rollback returns to.", nullable=True),
            column("n_trials", WHOLE, "Of a champion: frames put on trial so far."),
            column("n_guards", WHOLE, "Of a champion: comparisons begun so far that could have rolled one back."),
            column(
                "trial_error_returned", REAL, "Of a champion: error budget the next trial gets back from a promotion."
            ),
            column(
                "guard_error_returned", REAL, "Of a champion: error budget the next guard gets back from a rollback."
            ),
            column("tried", pa.list_(TEXT), "Of a champion: every frame that was champion or on trial."),
        ]
    ),
)
