using System.Collections.Concurrent;

namespace Api.Events;

/// <summary>How many event streams each key has open on this replica.</summary>
public sealed class EventStreams
{
    public const int MostOfAKey = 16;
    private readonly ConcurrentDictionary<string, int> open = new();

    public bool TryOpen(string key)
    {
        if (open.AddOrUpdate(key, 1, (_, count) => count + 1) <= MostOfAKey) return true;
        Close(key);
        return false;
    }

    public void Close(string key)
    {
        if (open.AddOrUpdate(key, 0, (_, count) => count - 1) == 0) open.TryRemove(new KeyValuePair<string, int>(key, 0));
    }
}
