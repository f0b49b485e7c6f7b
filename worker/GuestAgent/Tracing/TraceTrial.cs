using System.Text.Json;
using Contracts;

namespace GuestAgent.Tracing;

/// <summary>Shows whether a guest's kernel can count as page faults are counted, by other functions: sleeps, whose length is known, twice twenty of them.
/// The second half is counted by another agent, as after a restart of the first. Prints what each counted, as it is told to the worker.</summary>
internal static class TraceTrial
{
    private const int Sleeps = 20;
    private const uint SleepMicroseconds = 3000;

    public static int Run()
    {
        PageFaultTracing? tracing = null;
        for (var half = 0; half < 2; half++)
        {
            tracing = PageFaultTracing.Begin(TracedFunctions.Sleeps);
            if (tracing is null)
            {
                Console.WriteLine("trace-trial: this kernel cannot: it needs tracefs, KPROBE_EVENTS and HIST_TRIGGERS, and the functions");
                return 1;
            }
            for (var sleep = 0; sleep < Sleeps; sleep++)
                _ = LibC.Sleep(SleepMicroseconds);
            Console.WriteLine("trace-trial: " + JsonSerializer.Serialize(new AgentStats(0, null, null, PageFaults: tracing.Read()), AgentJson.Default.AgentMessage));
        }
        tracing?.TakeDown();
        return 0;
    }
}
