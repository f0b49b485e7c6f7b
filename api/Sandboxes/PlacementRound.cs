namespace Api.Sandboxes;

/// <summary>One look of the scheduler at all that waits, in the order of <see cref="PlacementQueue"/>. Pure.
/// Guarantees: what fits now is placed, also past others that do not fit, so nothing lies idle; but one that was passed over for a minute has the nodes nearest to taking it kept from those behind it,
/// so the small do not starve the big. It is kept in spells of 1 to 2, 4 to 8, 16 to 32 minutes of waiting and so on, one node in the first, twice as many in each next: guests of any finite life end within
/// one of them, and one that waits for guests that never end does not stop the fleet for good.
/// Assumes: sandboxes end at last. What is kept is worked out anew each time, alike by each replica; nothing of it is stored.</summary>
public sealed class PlacementRound(PlacementFleet fleet, PlacementQueue queue, DateTimeOffset now)
{
    public sealed record Decision(PlacementQueue.Waiting Waiting, Placement.Result Result);

    /// <summary>How long one is passed over before nodes are kept for it.</summary>
    public static readonly TimeSpan ReserveAfter = TimeSpan.FromMinutes(1);
    public const int MaxReservations = 8;
    private int reservations;

    /// <summary>All, or those before <paramref name="until"/>.</summary>
    public IEnumerable<Decision> Decide(Guid? until = null)
    {
        while (queue.Next() is { } next && next.Id != until)
        {
            var result = fleet.Choose(next.Request);
            if (result is Placement.Placed) queue.Placed(next);
            else if (reservations < MaxReservations && NodesToKeep(now - next.Since) is > 0 and var most && fleet.Reserve(next.Request, most)) reservations++;
            yield return new(next, result);
        }
    }

    /// <summary>How many nodes are kept for one that has waited so long; 0: none now.</summary>
    public static int NodesToKeep(TimeSpan waited)
    {
        if (waited < ReserveAfter) return 0;
        var spell = (int)Math.Log2(waited / ReserveAfter);
        return spell % 2 == 0 ? 1 << Math.Min(spell / 2, 20) : 0;
    }
}
