{{ config(meta={'by_cycle': true}) }}

-- The mart performance at every instant at which it changed, so that a question about the past adds nothing up.
with

known as (

    select * from {{ ref('int_outputs_known') }}

),

arms as (

    select distinct
        flywheel,
        cycle,
        output_id,
        unnest([arm, 'all']) as arm
    from {{ ref('stg_published_outputs') }}

),

moments as (

    select
        flywheel,
        cycle,
        metric,
        moment,
        lead(moment) over (partition by flywheel, cycle, metric order by moment) as until
    from (
        select distinct
            flywheel,
            cycle,
            metric,
            unnest([known_from, known_until]) as moment
        from known
    ) as listed
    where moment is not null

),

final as (

    select

        ---------- ids
        known.flywheel,
        known.cycle,
        arms.arm,
        known.metric,

        ---------- when it was known
        moments.moment as known_from,
        moments.until as known_until,
        max(known.known_at) as known_at,

        ---------- what was known; sums in the order of the outputs, as in the mart
        count(*) as n_outputs,
        sum(known.numerator order by known.output_id) as numerator,
        sum(known.exposure order by known.output_id) as exposure

    from known
    inner join moments
        on
            known.flywheel = moments.flywheel
            and known.cycle = moments.cycle
            and known.metric = moments.metric
            and known.known_from <= moments.moment
            and (known.known_until is null or known.known_until > moments.moment)
    inner join arms
        on known.flywheel = arms.flywheel and known.cycle = arms.cycle and known.output_id = arms.output_id
    group by 1, 2, 3, 4, 5, 6

)

select * from final
order by flywheel, cycle, arm, metric, known_from
