{{ config(meta={'by_cycle': true}) }}

-- What was known of each output and metric, from when to when: the query of `feedback/performance.py` for every instant at
-- which its answer changed. A test holds the two equal.
with

ledger as (

    select * from {{ ref('stg_metric_ledger') }}

),

replacements as (

    select * from {{ ref('stg_metric_replacements') }}

),

-- By number: a long history has tens of millions of measurements.
published as (

    select
        flywheel,
        cycle,
        output_id,
        row_number() over () as number
    from {{ ref('stg_published_outputs') }}
    group by 1, 2, 3

),

-- Far fewer than rows: one per file and day.
arrivals as (

    select distinct
        flywheel,
        cycle,
        feed,
        measured_on,
        recorded_at,
        batch_id
    from ledger
    where feed is not null

),

replaced as (

    select
        arrivals.flywheel,
        arrivals.cycle,
        arrivals.feed,
        arrivals.measured_on,
        arrivals.batch_id,
        min(replacements.recorded_at) as replaced_at
    from arrivals
    inner join replacements
        on
            arrivals.flywheel = replacements.flywheel
            and arrivals.cycle = replacements.cycle
            and arrivals.feed = replacements.feed
            and arrivals.measured_on between replacements.first_day and replacements.last_day
            and (replacements.recorded_at, replacements.batch_id) > (arrivals.recorded_at, arrivals.batch_id)
    group by 1, 2, 3, 4, 5

),

reviewed as (

    select *
    from {{ ref('reviews') }}
    where is_published
    qualify row_number() over (
        partition by flywheel, cycle, output_id, recorded_at order by batch_id desc, source_row desc
    ) = 1

),

-- What a review counts as: one review, and one of its decision.
reactions as (

    select
        flywheel,
        cycle,
        output_id,
        recorded_at,
        unnest(['reviews', 'accepted_as_is', 'edited', 'rejected']) as measure,
        unnest([true, decision = 'accepted', decision = 'edited', decision = 'rejected'])::int::double as value
    from reviewed

),

recorded as (

    select
        published.flywheel,
        published.number,
        ledger.measure,
        ledger.measured_on,
        ledger.value,
        ledger.recorded_at,
        ledger.batch_id,
        ledger.source_row,
        replaced.replaced_at
    from ledger
    inner join published
        on
            ledger.flywheel = published.flywheel
            and ledger.cycle = published.cycle
            and ledger.output_id = published.output_id
    left join replaced
        on
            ledger.flywheel = replaced.flywheel
            and ledger.cycle = replaced.cycle
            and ledger.feed = replaced.feed
            and ledger.measured_on = replaced.measured_on
            and ledger.batch_id = replaced.batch_id

    union all

    select
        published.flywheel,
        published.number,
        reactions.measure,
        reactions.cycle as measured_on,
        reactions.value,
        reactions.recorded_at,
        'reviews' as batch_id,
        0 as source_row,
        null as replaced_at
    from reactions
    inner join published
        on
            reactions.flywheel = published.flywheel
            and reactions.cycle = published.cycle
            and reactions.output_id = published.output_id

),

-- The rows of an output, measure and day in the order in which they count: each until the next one, or until an export
-- replaces it.
in_order as materialized (

    select
        *,
        lead(recorded_at) over later as next_at,
        max(coalesce(replaced_at, 'infinity'::timestamptz)) over (
            later rows between unbounded preceding and 1 preceding
        ) as others_until
    from recorded
    window later as (partition by number, measure, measured_on order by recorded_at, batch_id, source_row)

),

-- Where an older row outlives a newer one, because only what the other feed said was replaced, it comes back.
revived as (

    select distinct
        number,
        measure,
        measured_on
    from in_order
    where replaced_at < others_until

),

contested as (

    select in_order.*
    from in_order
    inner join revived
        on
            in_order.number = revived.number
            and in_order.measure = revived.measure
            and in_order.measured_on = revived.measured_on

),

turns as (

    select
        number,
        measure,
        measured_on,
        moment,
        lead(moment) over (partition by number, measure, measured_on order by moment) as until
    from (
        select distinct
            number,
            measure,
            measured_on,
            unnest([recorded_at, replaced_at]) as moment
        from contested
    ) as listed
    where moment is not null

),

spans as materialized (

    select
        in_order.flywheel,
        in_order.number,
        in_order.measure,
        in_order.measured_on,
        in_order.value,
        in_order.recorded_at,
        in_order.recorded_at as known_from,
        least(in_order.next_at, in_order.replaced_at) as known_until
    from in_order
    left join revived
        on
            in_order.number = revived.number
            and in_order.measure = revived.measure
            and in_order.measured_on = revived.measured_on
    where
        revived.number is null
        and (known_until is null or known_until > in_order.recorded_at)

    union all

    select
        contested.flywheel,
        contested.number,
        contested.measure,
        contested.measured_on,
        contested.value,
        contested.recorded_at,
        turns.moment as known_from,
        turns.until as known_until
    from contested
    inner join turns
        on
            contested.number = turns.number
            and contested.measure = turns.measure
            and contested.measured_on = turns.measured_on
            and contested.recorded_at <= turns.moment
            and (contested.replaced_at is null or contested.replaced_at > turns.moment)
    qualify row_number() over (
        partition by contested.number, contested.measure, contested.measured_on, turns.moment
        order by contested.recorded_at desc, contested.batch_id desc, contested.source_row desc
    ) = 1

),

-- What a measurement adds to a metric, as numerator and as exposure.
parts as (

    select
        spans.number,
        spans.measured_on,
        spans.recorded_at,
        spans.known_from,
        spans.known_until,
        wanted.metric,
        wanted.kind,
        case
            when spans.measure <> wanted.numerator then null
            when wanted.kind = 'top_k' then (spans.value <= wanted.k)::int::double
            else spans.value
        end as counted,
        case
            when wanted.kind = 'top_k' then 1::double
            when spans.measure = wanted.denominator then spans.value
        end as exposed
    from spans
    inner join {{ ref('int_metric_definitions') }} as wanted
        on spans.flywheel = wanted.flywheel and spans.measure in (wanted.numerator, wanted.denominator)

),

-- Most outputs hear of a metric once, and then never again.
heard as (

    select
        number,
        metric,
        kind,
        min(known_from) as known_from,
        min(known_from) <> max(known_from) or count(known_until) > 0 as has_changed,
        -- The last bits of a sum of decimals depend on its order. Whole numbers need none, and none is much cheaper.
        sum(counted) as numerator,
        sum(exposed) as exposure,
        count(*) filter (where exposed > 0) as n_reports,
        max(recorded_at) as known_at
    from parts
    group by 1, 2, 3

),

changing as (

    select parts.*
    from parts
    inner join heard on parts.number = heard.number and parts.metric = heard.metric
    where heard.has_changed or heard.kind in ('mean', 'duration')

),

moments as (

    select
        number,
        metric,
        moment,
        lead(moment) over (partition by number, metric order by moment) as until
    from (
        select distinct
            number,
            metric,
            unnest([known_from, known_until]) as moment
        from changing
    ) as listed
    where moment is not null

),

added as (

    select
        changing.number,
        changing.metric,
        changing.kind,
        moments.moment as known_from,
        moments.until as known_until,
        sum(changing.counted order by changing.measured_on) as numerator,
        sum(changing.exposed order by changing.measured_on) as exposure,
        count(*) filter (where changing.exposed > 0) as n_reports,
        max(changing.recorded_at) as known_at
    from changing
    inner join moments
        on
            changing.number = moments.number
            and changing.metric = moments.metric
            and changing.known_from <= moments.moment
            and (changing.known_until is null or changing.known_until > moments.moment)
    group by 1, 2, 3, 4, 5

    union all

    select
        number,
        metric,
        kind,
        known_from,
        null as known_until,
        numerator,
        exposure,
        n_reports,
        known_at
    from heard
    where not has_changed and kind not in ('mean', 'duration')

),

final as (

    select

        ---------- ids
        published.flywheel,
        published.cycle,
        published.output_id,
        added.metric,

        ---------- when it was known
        added.known_from,
        added.known_until,
        added.known_at,

        ---------- what was known; a count per output has the output itself as its exposure
        coalesce(added.numerator, 0) as numerator,
        case when added.kind = 'per_output' then 1 else added.exposure end as exposure,
        case when added.kind = 'per_output' then 1 else added.n_reports end as n_reports

    from added
    inner join published on added.number = published.number
    where
        (added.kind = 'per_output' or added.exposure is not null)
        -- No success is said by leaving it out; no amount is not.
        and (added.numerator is not null or added.kind not in ('mean', 'duration', 'per_output'))

)

select * from final
order by flywheel, cycle, output_id, metric, known_from
