with

source as (

    select * from {{ source('lake', 'batches') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        batch_id,

        ---------- text
        source,
        feed,

        ---------- numerics
        n_rows,
        n_quarantined,
        n_late,
        n_unmatched,
        n_held,

        ---------- dates
        first_cycle,
        last_cycle,
        first_day,
        last_day,

        ---------- timestamps
        recorded_at

    from source

)

select * from renamed
