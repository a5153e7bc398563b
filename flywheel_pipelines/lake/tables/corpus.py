"""The reference corpus: what people rule, what is in it and why, and the signs of a loop that feeds on itself."""

import pyarrow as pa

from flywheel_pipelines.lake.contracts import TableContract, column
from flywheel_pipelines.lake.tables.ledgers import FACT
from flywheel_pipelines.lake.tables.types import DAY, INSTANT, REAL, TEXT, WHOLE

CORPUS_RULINGS = TableContract(
    name="corpus_rulings",
    layer="feedback",
    description="What people rule about references, by the first cycle whose close counts it: pin, ban, or lift.",
    key=("output_id", "recorded_at", "batch_id", "source_row"),
    kind="ledger",
    schema=pa.schema(
        [
            column("output_id", TEXT, "The output that the ruling is about."),
            column("ruling", TEXT, "pin (keep it in), ban (keep it out) or lift (no ruling any more)."),
            column("person", TEXT, "Pseudonym of who ruled."),
            column("reason", TEXT, "Why, in that person's words."),
            column("source_cycle", DAY, "The cycle that published the output."),
            *FACT,
        ]
    ),
)


RULED_OUTPUTS = TableContract(
    name="ruled_outputs",
    layer="feedback",
    description="The rulings that stand at the close of a cycle, carried on from cycle to cycle until they are lifted.",
    key=("output_id",),
    schema=pa.schema(
        [
            column("output_id", TEXT, "The output that the ruling is about."),
            column("ruling", TEXT, "pin or ban."),
            column("person", TEXT, "Pseudonym of who ruled."),
            column("reason", TEXT, "Why, in that person's words."),
            column("source_cycle", DAY, "The cycle that published the output."),
            column("effective_from", DAY, "First cycle whose close counted the ruling."),
            column("known_at", INSTANT, "recorded_at of the ruling."),
        ]
    ),
)


ANCESTRY = TableContract(
    name="ancestry",
    layer="learning",
    description="How many generations every output of a cycle is away from human text.",
    key=("output_id",),
    schema=pa.schema(
        [
            column("output_id", TEXT, "The output, published or not."),
            column(
                "depth",
                WHOLE,
                "Generations since human text: 0 for a text that a person wrote, 1 without references, else 1 + the "
                "largest depth among its references; a reference shown as a person edited it has depth 0.",
            ),
            column("mean_depth", REAL, "The same with the mean over its references in place of the largest."),
            column("n_references", WHOLE, "References it was produced with."),
            column("n_unknown", WHOLE, "Of these, references without known ancestry; they count as depth 1."),
            column("text_hash", TEXT, "Hash of its text as it was produced, which tells a reference that was edited."),
        ]
    ),
)


REFERENCE_CORPUS = TableContract(
    name="reference_corpus",
    layer="learning",
    description="The proven winners that the next prompt shows; the whole corpus as of the close of the cycle.",
    key=("reference_id",),
    schema=pa.schema(
        [
            column("reference_id", TEXT, "output_id of the winner."),
            column("segment", TEXT, "Its segment."),
            column("text", TEXT, "Its text; as a person left it where one edited it."),
            column("source_cycle", DAY, "The cycle that produced it."),
            column(
                "quality", REAL, "Relative gain over the floor: posterior mean / floor level - 1, worse-case signed."
            ),
            column(
                "p_above",
                REAL,
                "Probability that it beats the floor, at this close; null when unjudged.",
                nullable=True,
            ),
            column("freshness", REAL, "0.5 ^ (age in cycles / corpus.half_life); 1 where quality does not age."),
            column("relevance", REAL, "Quality times freshness, over the largest such product among the candidates."),
            column("likeness", REAL, "Largest text similarity to a reference chosen before it."),
            column("reason", TEXT, "promoted (it beat the floor) or pinned (a person keeps it in)."),
            column("by_people", TEXT, "What a person did with its text: wrote, edited, pinned, accepted, or none."),
            column("depth", WHOLE, "Generations since human text; 0 when a person wrote or edited it."),
            column("mean_depth", REAL, "The same by the mean over its references; 0 when a person wrote or edited it."),
            column("family", pa.list_(TEXT), "Candidates passed over as its near-duplicates, by id."),
            column("rank", WHOLE, "Order in which it was chosen, 1 first: pinned ones, then by marginal relevance."),
            column("corpus_version", TEXT, "Hash of all entries of this corpus."),
        ]
    ),
)


REFERENCE_CHANGES = TableContract(
    name="reference_changes",
    layer="learning",
    description="What came into the corpus at the close of a cycle, what stayed and what left, each with the reason.",
    key=("reference_id", "change"),
    schema=pa.schema(
        [
            column("reference_id", TEXT, "output_id of the reference."),
            column("change", TEXT, "entered, kept or left; a text that was edited leaves and enters."),
            column(
                "reason",
                TEXT,
                "Why it entered or left: promoted, pinned, edited; banned, lifted, review_rejected, demoted, too_old, "
                "near_duplicate, segment_full, displaced, text_changed, withdrawn. Null while it stays.",
                nullable=True,
            ),
            column("words", TEXT, "The reason in words and numbers."),
            column("since", DAY, "The cycle whose close put it in; its own cycle where it entered."),
            column("segment", TEXT, "Its segment."),
            column("text", TEXT, "Its text while it was in."),
            column("source_cycle", DAY, "The cycle that produced it."),
            column("rank", WHOLE, "Its rank now; null when it left.", nullable=True),
            column("rank_before", WHOLE, "Its rank at the close before; null when it entered.", nullable=True),
        ]
    ),
)


COLLAPSE_SIGNS = TableContract(
    name="collapse_signs",
    layer="learning",
    description="Signs of a loop that feeds on itself, in the corpus and in what went out, beside the first cycles.",
    key=("scope",),
    schema=pa.schema(
        [
            column(
                "scope",
                TEXT,
                "corpus (the references) or outputs (of the flywheel arm: published, or blocked as copies).",
            ),
            column("n_texts", WHOLE, "Texts looked at."),
            column(
                "distinct_1",
                REAL,
                "Distinct words over words, mean over groups of 5 by segment; null with less.",
                nullable=True,
            ),
            column(
                "distinct_2",
                REAL,
                "Distinct pairs of neighbouring words over pairs, mean over groups of 5 by segment; null with less.",
                nullable=True,
            ),
            column(
                "similarity",
                REAL,
                "Mean text similarity of two of one segment; null with less than 5 pairs.",
                nullable=True,
            ),
            column("depth", WHOLE, "Largest depth since human text; null without texts.", nullable=True),
            column("mean_depth", REAL, "Mean over texts of mean_depth since human text; null without.", nullable=True),
            column(
                "human_share",
                REAL,
                "Share that a person wrote, edited, pinned or accepted; null without texts.",
                nullable=True,
            ),
            column(
                "n_first",
                WHOLE,
                "Cycles of at least 5 texts counted into what is normal, at most collapse.first_cycles.",
            ),
            column("first_distinct_2", REAL, "Mean distinct_2 of these cycles; null before the first.", nullable=True),
            column("first_similarity", REAL, "Mean similarity of these cycles; null before the first.", nullable=True),
            column(
                "distinct_fall",
                REAL,
                "1 - distinct_2 / first_distinct_2; null where one of them is, or with less than 5 texts.",
                nullable=True,
            ),
            column(
                "similarity_rise",
                REAL,
                "similarity - first_similarity; null where one of them is, or with less than 5 texts.",
                nullable=True,
            ),
            column("past", pa.list_(TEXT), "Limits of the YAML that this cycle is past, by key."),
            column(
                "n_past", pa.list_(WHOLE), "For each of these, cycles in a row that are past it, this one included."
            ),
        ]
    ),
)
