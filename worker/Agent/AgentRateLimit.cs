namespace Worker.Agent;

/// <summary>What to do with a line that has just arrived.</summary>
internal enum AgentVerdict { Take, TakeThenPause, CutOff }

// Pure: how fast a guest may talk. Whole seconds are counted, the first beginning with the first line of a connection.
// More than 50 lines in each of five seconds in a row cut it off; in any one second no more than 500 are read, so that even
// these five seconds cost the node little. Lines that somebody has asked for, and given credit, count for that only.
internal sealed class AgentRateLimit
{
    public const int MaxPerSecond = 50;
    public const int MaxReadPerSecond = 500;
    public const int MaxBusySeconds = 5;
    private long _second;
    private int _count, _asked, _busySeconds;

    /// <param name="elapsed">Since the connection was made; never goes back.</param>
    /// <param name="isAskedFor">Whether somebody has given credit for it.</param>
    public AgentVerdict Add(TimeSpan elapsed, bool isAskedFor = false)
    {
        var second = (long)elapsed.TotalSeconds;
        if (second != _second)
        {
            // A second without a line is a quiet one.
            if (_count <= MaxPerSecond || second > _second + 1)
                _busySeconds = 0;
            (_second, _count, _asked) = (second, 0, 0);
        }
        if (isAskedFor)
            _asked++;
        else
            _count++;
        if (!isAskedFor && _count == MaxPerSecond + 1 && ++_busySeconds == MaxBusySeconds)
            return AgentVerdict.CutOff;
        return _count + _asked >= MaxReadPerSecond ? AgentVerdict.TakeThenPause : AgentVerdict.Take;
    }

    /// <summary>How long until the second that runs at a time is over.</summary>
    public static TimeSpan UntilNextSecond(TimeSpan elapsed) => TimeSpan.FromSeconds((long)elapsed.TotalSeconds + 1) - elapsed;
}
