with

source as (

    select * from {{ source('lake', 'restatements') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        output_id,
        batch_id,

        ---------- text
        subject,
        metric,
        old_decision,
        new_decision,
        old_threshold,
        new_threshold,

        ---------- numerics
        old_value,
        new_value,
        old_exposure,
        new_exposure,
        source_row,

        ---------- dates
        cycle,

        ---------- timestamps
        recorded_at,

        ---------- lists
        caused_by

    from source

)

select * from renamed
