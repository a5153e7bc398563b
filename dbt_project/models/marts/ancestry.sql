{{ config(post_hook=["{{ ancestry_functions() }}"]) }}

-- A long history has tens of millions of pairs of an ancestor and a descendant. So they are never listed: the ancestors
-- of a reference are bits, one for each reference of the flywheel, and are put together cycle by cycle.
with recursive

families as (

    select * from {{ ref('int_families') }}

),

named as (

    select
        flywheel,
        cycle,
        reference_ids,
        n_outputs,
        unnest(list_distinct(reference_ids)) as reference_id
    from families

),

-- In the order in which they were first shown, so that what only some of a cycle descend from has the last numbers.
served as (

    select
        flywheel,
        reference_id,
        (row_number() over (partition by flywheel order by min(cycle), reference_id) - 1)::int as reference
    from named
    group by 1, 2

),

-- References of an archive that was never imported are known by name alone: nothing is known to lie before them.
ancestors as materialized (

    select
        served.flywheel,
        served.reference_id,
        served.reference,
        outputs.cycle,
        outputs.segment,
        outputs.arm,
        outputs.p_above,
        outputs.is_synthetic,
        outputs.reference_ids,
        dense_rank() over (partition by served.flywheel order by outputs.cycle nulls first) as step
    from served
    left join {{ ref('outputs') }} as outputs
        on served.flywheel = outputs.flywheel and served.reference_id = outputs.output_id

),

written_with as (

    select
        flywheel,
        reference,
        step,
        unnest(reference_ids) as parent_id
    from ancestors

),

-- From a reference to the later references that were written with it.
parents as materialized (

    select distinct
        parent.flywheel,
        parent.reference as parent,
        written_with.reference as child,
        written_with.step
    from written_with
    inner join ancestors as parent
        on written_with.flywheel = parent.flywheel and written_with.parent_id = parent.reference_id
    where parent.step < written_with.step

),

needed as (

    select
        flywheel,
        parent as reference,
        max(step) as until
    from parents
    group by 1, 2

),

-- What each step of the walk hands on, from whom to whom: a reference to itself for as long as it is needed, and to those
-- that were written with it. Number -1 has no ancestors, and hands that on to all.
moves as materialized (

    select
        ancestors.flywheel,
        ancestors.reference as source,
        ancestors.reference as target,
        unnest(range(ancestors.step + 1, needed.until + 1)) as step
    from ancestors
    inner join needed on ancestors.flywheel = needed.flywheel and ancestors.reference = needed.reference

    union all

    select
        flywheel,
        parent as source,
        child as target,
        step
    from parents

    union all

    select
        flywheel,
        -1 as source,
        reference as target,
        step
    from ancestors

    union all

    select
        flywheel,
        -1 as source,
        -1 as target,
        unnest(range(1, max(step) + 1)) as step
    from ancestors
    group by 1

),

walk as (

    select
        flywheel,
        0::bigint as step,
        -1 as reference,
        repeat('0', count(*))::bit as bits
    from served
    group by 1

    union all

    select
        moves.flywheel,
        moves.step,
        moves.target as reference,
        case
            when moves.target < 0 then bit_or(walk.bits) else set_bit(bit_or(walk.bits), moves.target, 1)
        end as bits
    from walk
    inner join moves
        on walk.flywheel = moves.flywheel and walk.reference = moves.source and walk.step + 1 = moves.step
    group by 1, 2, 3

),

-- Each reference with its ancestors and itself.
walked as (

    select
        ancestors.flywheel,
        ancestors.reference,
        walk.bits
    from ancestors
    inner join walk
        on
            ancestors.flywheel = walk.flywheel
            and ancestors.reference = walk.reference
            and ancestors.step = walk.step

),

shown as (

    select
        named.flywheel,
        named.cycle,
        named.reference_ids,
        named.n_outputs,
        served.reference
    from named
    inner join served on named.flywheel = served.flywheel and named.reference_id = served.reference_id

),

children as (

    select
        flywheel,
        reference,
        sum(n_outputs)::bigint as n_children
    from shown
    group by 1, 2

),

-- A family may be reached by several of an ancestor's descendants and counts once.
reached as (

    select
        shown.flywheel,
        shown.cycle,
        shown.reference_ids,
        bit_or(walked.bits) as bits
    from shown
    inner join walked on shown.flywheel = walked.flywheel and shown.reference = walked.reference
    group by 1, 2, 3

),

with_ancestors as (

    select
        reached.flywheel,
        reached.cycle,
        reached.bits,
        families.n_outputs,
        families.n_published,
        families.n_judged,
        families.n_promoted,
        families.depth
    from reached
    inner join families
        on
            reached.flywheel = families.flywheel
            and reached.cycle = families.cycle
            and reached.reference_ids = families.reference_ids

),

-- The families of a cycle have nearly all of their ancestors in common: those are counted once for all of them.
shared as (

    select
        flywheel,
        cycle,
        bit_and(bits) as bits,
        sum(n_outputs)::bigint as n_outputs,
        sum(n_published)::bigint as n_published,
        sum(n_judged)::bigint as n_judged,
        sum(n_promoted)::bigint as n_promoted,
        max(depth) as depth
    from with_ancestors
    group by 1, 2

),

counted as (

    select * from shared

    union all

    select
        with_ancestors.flywheel,
        with_ancestors.cycle,
        xor(with_ancestors.bits, shared.bits) as bits,
        with_ancestors.n_outputs,
        with_ancestors.n_published,
        with_ancestors.n_judged,
        with_ancestors.n_promoted,
        with_ancestors.depth
    from with_ancestors
    inner join shared on with_ancestors.flywheel = shared.flywheel and with_ancestors.cycle = shared.cycle

),

descended as (

    select
        *,
        unnest(range(bit_position('1'::bit, bits) - 1, bit_length(bits)))::int as reference
    from counted
    where bit_count(bits) > 0

),

descendants as (

    select
        flywheel,
        reference,
        sum(n_outputs)::bigint as n_descendants,
        sum(n_published)::bigint as n_published,
        sum(n_judged)::bigint as n_judged,
        sum(n_promoted)::bigint as n_promoted,
        min(cycle) as first_cycle,
        max(cycle) as last_cycle,
        max(depth) as deepest
    from descended
    where get_bit(bits, reference) = 1
    group by 1, 2

),

depths as (

    select
        written.flywheel,
        written.cycle,
        written.output_id,
        written.depth
    from {{ ref('stg_ancestry') }} as written
    inner join served on written.flywheel = served.flywheel and written.output_id = served.reference_id

),

final as (

    select

        ---------- ids
        ancestors.flywheel,
        ancestors.reference_id as ancestor_id,

        ---------- the ancestor
        ancestors.cycle,
        ancestors.segment,
        ancestors.arm,
        ancestors.p_above,
        depths.depth,
        ancestors.is_synthetic,

        ---------- its descendants
        children.n_children,
        descendants.n_descendants,
        descendants.first_cycle,
        descendants.last_cycle,
        descendants.deepest,

        ---------- how they did
        descendants.n_published,
        descendants.n_judged,
        descendants.n_promoted,
        descendants.n_promoted / nullif(descendants.n_judged, 0) as promoted_share

    from descendants
    inner join ancestors
        on descendants.flywheel = ancestors.flywheel and descendants.reference = ancestors.reference
    inner join children
        on descendants.flywheel = children.flywheel and descendants.reference = children.reference
    left join depths
        on
            ancestors.flywheel = depths.flywheel
            and ancestors.cycle = depths.cycle
            and ancestors.reference_id = depths.output_id

)

select * from final
order by flywheel, ancestor_id
