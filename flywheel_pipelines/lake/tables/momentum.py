"""Whether it spins: outcomes per brief, lift, audit."""

import pyarrow as pa

from flywheel_pipelines.lake.contracts import TableContract, column
from flywheel_pipelines.lake.tables.types import FLAG, REAL, TEXT, WHOLE

BRIEF_OUTCOMES = TableContract(
    name="brief_outcomes",
    layer="momentum",
    description="What each arm achieved on each brief: the unit of the lift estimate.",
    key=("brief_id",),
    schema=pa.schema(
        [
            column("brief_id", TEXT, "The brief."),
            column("segment", TEXT, "Its segment."),
            column(
                "flywheel_value", REAL, "Weighted metric of the flywheel arm; null when not in that arm.", nullable=True
            ),
            column(
                "control_value", REAL, "Weighted metric of the control arm; null when not in that arm.", nullable=True
            ),
            column(
                "challenger_value",
                REAL,
                "Weighted metric of the challenger arm (frame on trial or predecessor); null when not in that arm.",
                nullable=True,
            ),
            column(
                "n_measured", WHOLE, "Distinct outputs of flywheel and control arm that were measured for the brief."
            ),
            column(
                "is_counted",
                FLAG,
                "Whether the lift counts it: measured, with its counterpart where briefs have one, and free to differ.",
            ),
            column(
                "hit",
                FLAG,
                "Whether the choice was the best measured, ties included; null without a contrast.",
                nullable=True,
            ),
            column(
                "chance", REAL, "Probability that a random choice is a hit; null without a contrast.", nullable=True
            ),
        ]
    ),
)


MOMENTUM = TableContract(
    name="momentum",
    layer="momentum",
    description="Lift of the flywheel arm over the control arm, in the cycle and cumulative, with 95% intervals for "
    "one look and for all looks. Closes the cycle.",
    key=("scope",),
    schema=pa.schema(
        [
            column("scope", TEXT, "cycle (this one alone) or cumulative (all up to this one)."),
            column("metric", TEXT, "The floor's metric."),
            column("n_briefs", WHOLE, "Briefs with a measured flywheel or control output and, if paired, a contrast."),
            column("flywheel_mean", REAL, "Mean over briefs of the flywheel arm's value.", nullable=True),
            column("control_mean", REAL, "Mean over briefs of the control arm's value.", nullable=True),
            column("lift", REAL, "flywheel_mean / control_mean - 1; sign turned for lower-is-better.", nullable=True),
            column("lower", REAL, "Lower end of the 95% interval of the lift, for a single look.", nullable=True),
            column("upper", REAL, "Upper end of the 95% interval of the lift, for a single look.", nullable=True),
            column(
                "anytime_lift",
                REAL,
                "Lift with the arms compared within each cycle; null in the row of a single cycle.",
                nullable=True,
            ),
            column(
                "anytime_lower",
                REAL,
                "Lower end of the 95% interval that holds at all looks together: above 0, it spins.",
                nullable=True,
            ),
            column("anytime_upper", REAL, "Upper end of the 95% interval that holds at all looks.", nullable=True),
            column("hit_rate", REAL, "Share of contrasted briefs whose choice was the best measured.", nullable=True),
            column("chance_rate", REAL, "Hit rate that a random choice would have.", nullable=True),
            column("n_contrasts", WHOLE, "Counted briefs with two or more measured outputs, the choice among them."),
            column("n_flywheel", WHOLE, "Briefs in the flywheel arm."),
            column("n_control", WHOLE, "Briefs in the control arm."),
            column("n_both", WHOLE, "Briefs in both arms."),
            column(
                "sums",
                pa.list_(REAL),
                "Carried sums over briefs: f, c, ff, cc; of briefs in both arms fc, f, c; hits, chances. "
                "The next cycle adds to them.",
            ),
            column(
                "strata",
                pa.list_(REAL),
                "Carried sums over cycles that the anytime-valid interval is made of, in the order of "
                "`sequential.CARRIED`; empty in the row of a single cycle.",
            ),
        ]
    ),
)


SEGMENT_MOMENTUM = TableContract(
    name="segment_momentum",
    layer="momentum",
    description="Lift of the flywheel arm over the control arm within each segment, over all cycles up to this one.",
    key=("segment",),
    schema=pa.schema(
        [
            column("segment", TEXT, "The segment."),
            column("metric", TEXT, "The floor's metric."),
            column("n_flywheel", WHOLE, "Its briefs in the flywheel arm."),
            column("n_control", WHOLE, "Its briefs in the control arm."),
            column("lift", REAL, "Lift with the arms compared within each cycle; null while unknown.", nullable=True),
            column(
                "lower",
                REAL,
                "Lower end of the interval that holds at all looks and for all segments together, at 95%.",
                nullable=True,
            ),
            column("upper", REAL, "Upper end of that interval.", nullable=True),
            column("strata", pa.list_(REAL), "Carried sums over cycles, in the order of `sequential.CARRIED`."),
        ]
    ),
)


MOMENTUM_PARTS = TableContract(
    name="momentum_parts",
    layer="momentum",
    description="What moved the lift: the flywheel arm against each arm that lacks one part, over all cycles up to "
    "this one. Empty without `arms.ablations`.",
    key=("arm",),
    schema=pa.schema(
        [
            column("arm", TEXT, "The arm without the part: no_references, no_guidelines or no_selection."),
            column("part", TEXT, "What it lacks: references, guidelines or selection."),
            column("metric", TEXT, "The floor's metric."),
            column("n_flywheel", WHOLE, "Briefs of the flywheel arm that were compared."),
            column("n_without", WHOLE, "Briefs of the arm without the part that were compared with the flywheel's."),
            column("n_control", WHOLE, "Briefs of the control arm that were compared."),
            column(
                "contribution",
                REAL,
                "Lift of the flywheel arm over the arm without the part, compared within each cycle; null while "
                "unknown.",
                nullable=True,
            ),
            column(
                "lower",
                REAL,
                "Lower end of its interval, which holds at all looks and for all parts together, at 95%.",
                nullable=True,
            ),
            column("upper", REAL, "Upper end of that interval.", nullable=True),
            column("lift", REAL, "Lift of the arm without the part over the control arm.", nullable=True),
            column("lift_lower", REAL, "Lower end of the lift's interval, of the same kind.", nullable=True),
            column("lift_upper", REAL, "Upper end of the lift's interval.", nullable=True),
            column("strata", pa.list_(REAL), "Carried sums of the contribution, in the order of `sequential.CARRIED`."),
            column("lift_strata", pa.list_(REAL), "Carried sums of the lift over the control arm."),
        ]
    ),
)


AUDIT = TableContract(
    name="audit",
    layer="momentum",
    description="The seven-item audit of the loop as of a cycle: flywheel or treadmill, each item from evidence.",
    key=("item",),
    schema=pa.schema(
        [
            column("item", WHOLE, "1 to 7."),
            column("question", TEXT, "What is asked."),
            column("passed", FLAG, "Whether the evidence says yes."),
            column("number", REAL, "The number that decided it; null when there was nothing to count.", nullable=True),
            column("evidence", TEXT, "What the number is, in words."),
        ]
    ),
)
