namespace Api.Webhooks;

/// <summary>How many deliveries may be taken for each endpoint now. Pure.
/// Guarantees: endpoints that answer slowly share places of their own, so that any number of them leaves those that answer at once untouched.</summary>
public static class SendingRooms
{
    public const int FastPlaces = 512, SlowPlaces = 128;

    /// <summary><c>Held</c>: taken and not yet done; <c>Most</c>: how many the endpoint may have at once.</summary>
    public readonly record struct Lane(Guid Endpoint, bool IsSlow, int Held, int Most);

    /// <summary>Of each of these endpoints; how many each other may have, which counts as fast until it is known; and how many in all.</summary>
    public static (Dictionary<Guid, int> Rooms, int Others, int Most) Of(IEnumerable<Lane> lanes)
    {
        var all = lanes.ToList();
        var fast = Math.Max(0, FastPlaces - all.Where(l => !l.IsSlow).Sum(l => l.Held));
        var slow = Math.Max(0, SlowPlaces - all.Where(l => l.IsSlow).Sum(l => l.Held));
        var rooms = new Dictionary<Guid, int>();
        // Who holds least comes first: nobody is left out for long.
        foreach (var lane in all.OrderBy(l => l.Held))
        {
            var room = Math.Clamp(lane.Most - lane.Held, 0, lane.IsSlow ? slow : fast);
            rooms[lane.Endpoint] = room;
            if (lane.IsSlow) slow -= room;
        }
        return (rooms, Math.Min(fast, EndpointLane.MostAtOnce), fast + all.Where(l => l.IsSlow).Sum(l => rooms[l.Endpoint]));
    }
}
