with

library as (

    select * from {{ ref('stg_theme_library') }}

),

candidates as (

    select * from {{ ref('stg_theme_candidates') }}

),

trends as (

    select * from {{ ref('stg_theme_trends') }}

),

learning as (

    select * from {{ ref('stg_theme_learning') }}
    where arm = 'flywheel'

),

last_closed as (

    select
        flywheel,
        max(cycle) as cycle
    from library
    group by 1

),

shares as (

    select
        flywheel,
        theme_id,
        count(*) filter (where n_tickets > 0) as n_cycles,
        arg_max(cycle, (share, -epoch(cycle))) as peak_cycle,
        max(share) as peak_share,
        arg_max(share, cycle) as last_share,
        arg_max(movement, cycle) as last_movement
    from trends
    group by 1, 2

),

final as (

    select

        ---------- ids
        library.flywheel,
        library.theme_id,
        learning.is_synthetic,

        ---------- what it is
        library.name,
        library.summary,
        candidates.quotes,
        candidates.quoted_ids,

        ---------- where it stands
        library.status,
        library.merged_into,
        library.parent_id,
        library.founded,
        library.last_seen,
        library.n_tickets,
        library.coherence,

        ---------- how it moved, as long as it was in force
        shares.n_cycles,
        shares.peak_cycle,
        shares.peak_share,
        shares.last_share,
        shares.last_movement

    from library
    inner join last_closed on library.flywheel = last_closed.flywheel and library.cycle = last_closed.cycle
    left join candidates
        on
            library.flywheel = candidates.flywheel
            and library.theme_id = candidates.theme_id
            and library.founded = candidates.cycle
    left join shares on library.flywheel = shares.flywheel and library.theme_id = shares.theme_id
    left join learning on library.flywheel = learning.flywheel and library.cycle = learning.cycle

)

select * from final
order by flywheel, founded, theme_id
