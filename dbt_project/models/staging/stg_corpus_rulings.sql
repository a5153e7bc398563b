with

source as (

    select * from {{ source('lake', 'corpus_rulings') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        output_id,
        batch_id,

        ---------- text
        ruling,
        person,
        reason,

        ---------- numerics
        source_row,

        ---------- dates
        cycle,
        source_cycle,

        ---------- timestamps
        recorded_at

    from source

)

select * from renamed
