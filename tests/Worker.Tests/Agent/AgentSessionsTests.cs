using Contracts;
using Worker.Agent;
using Xunit;

namespace Worker.Tests.Agent;

public sealed class AgentSessionsTests
{
    private static readonly ExecRequest Request = new(["true"], new Dictionary<string, string>(), null, null, null);
    private readonly List<(Guid Session, OfSession Step)> _told = [];
    private readonly AgentSessions _sessions;
    private readonly HashSet<Guid> _opened = [];
    private int _cuts;

    public AgentSessionsTests() => _sessions = new(() => _cuts++);

    private static AgentReady Ready(int protocol, Guid? instance = null) => new(protocol, "1", "6.12", "boot", 1, 1, 1, instance);

    private Guid Open()
    {
        var id = Guid.NewGuid();
        _sessions.Do(id, new SessionOpen(Request), step => _told.Add((id, step)));
        return id;
    }

    private bool Say(Guid id, OfSession step) => _sessions.Take(new(id, step));

    private string? EndOf(Guid id) => _told.Where(t => t.Session == id).Select(t => t.Step).OfType<SessionEnded>().SingleOrDefault()?.Reason;

    [Theory]
    [InlineData(null, SessionReasons.AgentNotReady)]
    [InlineData(1, SessionReasons.AgentTooOld)]
    [InlineData(2, null)]
    [InlineData(3, null)]
    public void Open_IsRefusedByWhatTheAgentIs(int? protocol, string? reason)
    {
        if (protocol is { } spoken)
            _sessions.Greeted(Ready(spoken));
        Assert.Equal(reason, EndOf(Open()));
        Assert.Equal(reason is null, _sessions.Commands.TryRead(out _));
    }

    [Fact]
    public void Open_WhenThereAreAsManyAsMayBe_IsRefused()
    {
        _sessions.Greeted(Ready(2));
        var first = Open();
        for (var i = 1; i < GuestSessions.MaxOfSandbox; i++)
            Open();
        Assert.Equal(SessionReasons.TooManySessions, EndOf(Open()));
        // A closed one counts until the guest has ended it.
        _sessions.Do(first, new SessionClose(), _ => { });
        Assert.Equal(SessionReasons.TooManySessions, EndOf(Open()));
        Assert.True(Say(first, new SessionEnded(SessionReasons.Done)));
        Assert.Null(EndOf(first));
        Assert.Null(EndOf(Open()));
    }

    [Fact]
    public void Take_WhenTheGuestExceedsItsCredit_EndsThatSessionOnly()
    {
        _sessions.Greeted(Ready(2));
        var (flood, other) = (Open(), Open());
        Assert.True(Say(flood, new SessionOpened()));
        for (var i = 0; i < GuestSessions.Window; i++)
            Assert.True(Say(flood, new SessionOutput(1, [1])));
        _sessions.Do(flood, new SessionMore(1), _ => { });
        Assert.True(Say(flood, new SessionOutput(2, [1])));
        Assert.False(Say(flood, new SessionOutput(1, [1])));
        Assert.Equal((SessionReasons.AgentMisbehaves, null), (EndOf(flood), EndOf(other)));
        Assert.True(Say(other, new SessionOpened()));
        var before = _told.Count;
        Assert.False(Say(flood, new SessionOutput(1, [1])));
        Assert.Equal(before, _told.Count);
    }

    public static TheoryData<string> Nonsense => new(Steps.Keys);

    private static readonly Dictionary<string, OfSession> Steps = new()
    {
        ["opened twice"] = new SessionOpened(),
        ["another stream"] = new SessionOutput(3, [1]),
        ["no data"] = new SessionOutput(1, null!),
        ["a long frame"] = new SessionOutput(1, new byte[GuestSessions.MaxFrameBytes + 1]),
        ["credit for nothing"] = new SessionTook(0),
        ["credit beyond the window"] = new SessionTook(1),
        ["negative credit"] = new SessionTook(int.MinValue),
        ["credit without end"] = new SessionTook(int.MaxValue),
        ["an exit code that is none"] = new SessionEnded(SessionReasons.Done, ExitCode: 256),
        ["a signal that is none"] = new SessionEnded(SessionReasons.Done, Signal: 0),
        ["a digest that is none"] = new SessionEnded(SessionReasons.Done, Sha256: "x"),
        ["a reason that is none"] = new SessionEnded("<script>"),
        ["a long reason"] = new SessionEnded(new string('a', 41)),
        ["no reason"] = new SessionEnded(null!),
        ["a long detail"] = new SessionEnded(SessionReasons.Failed, Detail: new string('a', 201)),
        ["nothing"] = null!,
    };

    [Theory]
    [MemberData(nameof(Nonsense))]
    public void Take_WhenTheGuestSaysWhatTheProtocolHasNot_EndsTheSession(string what)
    {
        _sessions.Greeted(Ready(2));
        var id = Open();
        Assert.True(Say(id, new SessionOpened()));
        Assert.False(Say(id, Steps[what]));
        Assert.Equal(SessionReasons.AgentMisbehaves, EndOf(id));
    }

    [Fact]
    public void Take_OfASessionThatNobodyAskedFor_IsNonsense()
    {
        _sessions.Greeted(Ready(2));
        Assert.False(Say(Guid.NewGuid(), new SessionOpened()));
        Assert.Empty(_told);
    }

    [Fact]
    public void Sessions_EndOnce_WhenTheAgentOrItsConnectionIsAnother()
    {
        var agent = Guid.NewGuid();
        _sessions.Greeted(Ready(2, agent));
        var first = Open();
        _sessions.Greeted(Ready(2, agent));
        Assert.Null(EndOf(first));
        _sessions.Greeted(Ready(2, Guid.NewGuid()));
        Assert.Equal(SessionReasons.AgentLost, EndOf(first));
        var second = Open();
        _sessions.Lost();
        Assert.Equal(SessionReasons.AgentLost, EndOf(second));
        Assert.False(Say(second, new SessionEnded(SessionReasons.Done)));
        Assert.False(_sessions.Commands.TryRead(out _));
        Assert.Equal(SessionReasons.AgentNotReady, EndOf(Open()));
    }

    [Fact]
    public void Do_WhenTheGuestTakesNothing_CutsTheConnection()
    {
        _sessions.Greeted(Ready(2));
        var id = Open();
        for (var i = 0; i < 1000 && _cuts == 0; i++)
            _sessions.Do(id, new SessionSignal(10), _ => { });
        Assert.Equal(1, _cuts);
    }

    /// <summary>Whatever a guest says, in whatever order: it is never told more frames than credit was given for, and one end.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Take_WhateverIsSaid_HoldsCreditAndOneEnd(int seed)
    {
        var random = new Random(seed);
        _sessions.Greeted(Ready(2));
        var ids = new List<Guid> { Open(), Open(), Open() };
        var credit = ids.ToDictionary(i => i, _ => GuestSessions.Window);
        for (var round = 0; round < 3000; round++)
        {
            var id = ids[random.Next(ids.Count)];
            if (random.Next(4) == 0)
            {
                var more = random.Next(1, 3);
                _sessions.Do(id, new SessionMore(more), _ => { });
                credit[id] += more;
                while (_sessions.Commands.TryRead(out _))
                {
                }
            }
            OfSession[] sound = [new SessionOutput(1, [1]), new SessionOutput(2, new byte[random.Next(4)])];
            OfSession[] any = [new SessionOpened(), new SessionOutput(random.Next(0, 4), []), new SessionTook(random.Next(-1, 3)), new SessionEnded("Done"), new SessionEnded("")];
            Say(id, _opened.Add(id) ? new SessionOpened() : random.Next(20) == 0 ? any[random.Next(any.Length)] : sound[random.Next(sound.Length)]);
            if (random.Next(30) == 0)
            {
                ids.Add(Open());
                credit[ids[^1]] = GuestSessions.Window;
            }
        }
        Assert.Contains(_told, t => t.Step is SessionOutput);
        foreach (var session in _told.GroupBy(t => t.Session))
        {
            Assert.InRange(session.Count(t => t.Step is SessionOutput), 0, credit[session.Key]);
            Assert.InRange(session.Count(t => t.Step is SessionEnded), 0, 1);
            Assert.True(session.All(t => t.Step is not SessionEnded) || session.Last().Step is SessionEnded);
        }
    }
}
