using Api.Sandboxes;
using Contracts;
using Xunit;

namespace Api.Tests.Restarts;

/// <summary>Whether what has ended is started again: tables and properties.</summary>
public sealed class RestartDecisionTests
{
    private const RestartDecision.Answer No = RestartDecision.Answer.No, After = RestartDecision.Answer.After, Exhausted = RestartDecision.Answer.Exhausted;
    private static readonly DateTimeOffset _now = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    [Theory]
    [InlineData(null, null, DesiredState.Running, true, false, 0, 0, No, 0, 0)]
    [InlineData(RestartWhen.Never, null, DesiredState.Running, true, true, 0, 0, No, 0, 0)]
    [InlineData(RestartWhen.OnFailure, null, DesiredState.Running, true, false, 0, 0, After, 10, 0)]
    // A guest that has powered itself off has not failed.
    [InlineData(RestartWhen.OnFailure, null, DesiredState.Running, false, false, 0, 0, No, 0, 0)]
    [InlineData(RestartWhen.Always, null, DesiredState.Running, false, false, 0, 0, After, 10, 0)]
    // A user's stop is no restart, nor is a deletion, however it ends.
    [InlineData(RestartWhen.Always, null, DesiredState.Stopped, false, false, 0, 0, No, 0, 0)]
    [InlineData(RestartWhen.Always, null, DesiredState.Stopped, true, false, 0, 0, No, 0, 0)]
    [InlineData(RestartWhen.Always, null, DesiredState.Deleted, true, true, 0, 0, No, 0, 0)]
    // It doubles up to five minutes.
    [InlineData(RestartWhen.OnFailure, null, DesiredState.Running, true, false, 1, 0, After, 20, 1)]
    [InlineData(RestartWhen.OnFailure, null, DesiredState.Running, true, false, 4, 599, After, 160, 4)]
    [InlineData(RestartWhen.OnFailure, null, DesiredState.Running, true, false, 5, 0, After, 300, 5)]
    [InlineData(RestartWhen.OnFailure, null, DesiredState.Running, true, false, 1_000_000, 0, After, 300, 1_000_000)]
    // Ten minutes are well.
    [InlineData(RestartWhen.OnFailure, null, DesiredState.Running, true, false, 7, 600, After, 10, 0)]
    [InlineData(RestartWhen.OnFailure, 3, DesiredState.Running, true, false, 2, 0, After, 40, 2)]
    [InlineData(RestartWhen.OnFailure, 3, DesiredState.Running, true, false, 3, 0, Exhausted, 0, 3)]
    [InlineData(RestartWhen.OnFailure, 3, DesiredState.Running, true, false, 3, 600, After, 10, 0)]
    [InlineData(RestartWhen.OnFailure, 0, DesiredState.Running, true, false, 0, 600, Exhausted, 0, 0)]
    // A drain's move waits for nothing and does not count.
    [InlineData(RestartWhen.OnFailure, 0, DesiredState.Stopped, false, true, 5, 0, After, 0, 5)]
    public void Decision_Table(RestartWhen? policy, int? most, DesiredState desired, bool failed, bool moves, int restarts, int ranSeconds, RestartDecision.Answer answer, int delaySeconds, int inARow) =>
        Assert.Equal(new RestartDecision.Decision(answer, TimeSpan.FromSeconds(delaySeconds), inARow),
            RestartDecision.Of(policy is { } when ? new(when, most, 10) : null, new(desired, failed, moves, TimeSpan.FromSeconds(ranSeconds)), restarts));

    [Fact]
    public void Backoff_NeverShrinks_AndEndsAtFiveMinutes_FromAnyFirst()
    {
        for (var first = 1; first <= RestartDecision.MaxBackoffSeconds; first++)
        {
            var last = TimeSpan.Zero;
            for (var restarts = 0; restarts < 40; restarts++)
            {
                var next = RestartDecision.Backoff(first, restarts);
                Assert.True(next >= last && next >= TimeSpan.FromSeconds(first) && next <= TimeSpan.FromSeconds(300), $"{first} s, {restarts} restarts: {next}");
                last = next;
            }
            Assert.Equal(300, last.TotalSeconds);
        }
    }

    /// <summary>A guest that always fails at once, under any policy: never more starts than the policy has, never two sooner than its backoff.</summary>
    [Fact]
    public void GuestThatAlwaysFails_IsStartedNoMoreThanItsPolicySays()
    {
        for (var seed = 0; seed < 500; seed++)
        {
            var random = new Random(seed);
            var policy = new RestartPolicy(random.Next(2) == 0 ? RestartWhen.OnFailure : RestartWhen.Always, random.Next(3) == 0 ? null : random.Next(20), random.Next(1, 301));
            var (restarts, started) = (0, 0);
            for (var end = 0; end < 50; end++)
            {
                var decision = RestartDecision.Of(policy, new(DesiredState.Running, true, false, TimeSpan.FromSeconds(random.Next(600))), restarts);
                Assert.NotEqual(No, decision.Answer);
                if (decision.Answer == Exhausted) break;
                Assert.Equal(restarts, decision.Restarts);
                Assert.True(decision.Delay >= TimeSpan.FromSeconds(policy.BackoffSeconds));
                (restarts, started) = (decision.Restarts + 1, started + 1);
            }
            Assert.Equal(policy.MaxRestarts ?? 50, started);
        }
    }

    [Theory]
    [InlineData("", 0)]
    [InlineData("Pending Scheduled Preparing Booting", 0)]
    [InlineData("Pending Scheduled Booting Running", 10)]
    [InlineData("Running Pending Scheduled Booting", 0)]
    // What could not be seen for a while ran on; a stop takes its time.
    [InlineData("Scheduled Running Lost Running", 30)]
    [InlineData("Scheduled Running Lost", 20)]
    [InlineData("Scheduled Running Stopping", 20)]
    [InlineData("Running Stopped Pending Scheduled Running Stopping", 20)]
    public void RanFor_Table(string phases, int expectedSeconds)
    {
        var names = phases.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        var entries = names.Select((name, i) => new PhaseEntry(Enum.Parse<Phase>(name), _now.AddSeconds(-10 * (names.Length - i)))).ToList();
        Assert.Equal(expectedSeconds, RestartDecision.RanFor(entries, _now).TotalSeconds);
    }
}
