using System.Diagnostics;
using System.Runtime.Versioning;
using System.Text.Json;
using Contracts;
using GuestAgent.Probe;
using GuestAgent.Sessions;
using GuestAgent.Tracing;

namespace GuestAgent;

// The agent's one loop: answers the worker, sends a statistic each second, starts the probe once the first Ready is out.
// Guarantees: each Hello is answered by Ready and by every result that exists already, so a new worker learns all without asking;
//   user data runs at most once a boot, whatever the number of workers or of restarts of the agent.
// Assumes: one worker at a time on the port.
// On a crash: init starts it again; results are found again by probing anew, except for what ran already (see Configuration).
[SupportedOSPlatform("linux")]
internal sealed class Agent
{
    private static readonly string Version = typeof(Agent).Assembly.GetName().Version?.ToString(3) ?? "0.0.0";
    private readonly AgentPort _port;
    private readonly int _wakeDescriptor;
    private readonly Guid _instance = Guid.NewGuid();
    private readonly OpenSessions _sessions;
    private readonly object _gate = new();
    private readonly Queue<AgentMessage> _finished = new();
    private readonly Workload _workload = new(Configuration.Folder);
    private readonly KernelLog _log = new("/dev/kmsg");
    private volatile PageFaultTracing? _tracing;
    private volatile bool _tracingDecided;
    private AgentProbe? _probe;
    private AgentConfigured? _configured;
    private bool _probeStarted;
    private bool _greeted;
    private bool _readingBlocks;
    private bool _configuring;

    public Agent(AgentPort port, int wakeDescriptor)
    {
        (_port, _wakeDescriptor) = (port, wakeDescriptor);
        _sessions = new(_workload, Finish);
    }

    public void Run()
    {
        var lastStats = Stopwatch.GetTimestamp();
        var endedConnections = 0;
        while (true)
        {
            var sinceStats = Stopwatch.GetElapsedTime(lastStats);
            var untilStats = TimeSpan.FromSeconds(1) - sinceStats;
            var lines = _port.Wait(_wakeDescriptor, Math.Max(0, (int)Math.Ceiling(untilStats.TotalMilliseconds)));
            if (_port.EndedConnections != endedConnections)
            {
                // Whoever asked for them is gone; a new worker knows none of them.
                _greeted = false;
                _sessions.CloseAll();
            }
            endedConnections = _port.EndedConnections;
            foreach (var line in lines)
                Handle(line);
            _port.Flush();
            SendFinished();
            if (Stopwatch.GetElapsedTime(lastStats) < TimeSpan.FromSeconds(1))
                continue;
            lastStats = Stopwatch.GetTimestamp();
            if (_greeted)
                Send(Stats(), Loss.WhenLate);
        }
    }

    private void Handle(byte[] line)
    {
        AgentCommand? command;
        try
        {
            command = JsonSerializer.Deserialize(line, AgentJson.Default.AgentCommand);
        }
        catch (Exception error) when (error is JsonException or NotSupportedException)
        {
            Console.Error.WriteLine("sandbox-agent: the host sent a line that is not a command");
            return;
        }
        switch (command)
        {
            case AgentHello:
                Greet();
                break;
            case AgentConfigure configure:
                Configure(configure);
                break;
            case AgentBlockRead read:
                ReadBlocks(read);
                break;
            case AgentToSession told:
                _sessions.Take(told);
                break;
            case AgentPowerOff:
                PowerButton.PowerOff();
                break;
        }
    }

    private void Greet()
    {
        _greeted = true;
        Send(Ready());
        if (_probe is not null)
            Send(_probe);
        if (_configured is not null)
            Send(_configured);
        if (_probeStarted)
            return;
        _probeStarted = true;
        InBackground(() => SharedAddressProbe.Run(SysfsPci.Root));
        new Thread(BeginTracing) { IsBackground = true }.Start();
    }

    private void Configure(AgentConfigure configure)
    {
        if (_configured is not null)
            Send(_configured);
        if (_configured is not null || _configuring)
            return;
        _configuring = true;
        InBackground(() => Configuration.Apply(configure, _workload));
    }

    private void ReadBlocks(AgentBlockRead read)
    {
        if (_readingBlocks)
        {
            Send(new AgentBlockReadDone(read.Id, 0, 0, "Busy"));
            return;
        }
        _readingBlocks = true;
        InBackground(() => BlockReader.Read(read));
    }

    private void InBackground(Func<AgentMessage> work) => new Thread(() =>
    {
        Finish(work());
    })
    { IsBackground = true }.Start();

    /// <summary>From any thread: the loop tells it.</summary>
    private void Finish(AgentMessage message)
    {
        lock (_gate)
            _finished.Enqueue(message);
        Wake();
    }

    private unsafe void Wake()
    {
        ulong one = 1;
        LibC.Write(_wakeDescriptor, &one, sizeof(ulong));
    }

    private void SendFinished()
    {
        while (true)
        {
            AgentMessage? message;
            lock (_gate)
            {
                if (!_finished.TryDequeue(out message))
                    return;
            }
            if (message is AgentProbe probe)
                _probe = probe;
            else if (message is AgentConfigured configured)
                _configured = configured;
            else if (message is AgentBlockReadDone)
                _readingBlocks = false;
            else if (message is AgentOfSession { Step: SessionEnded } ended)
                _sessions.Forget(ended.Session);
            if (_greeted)
                Send(message, message is AgentOfSession ? Loss.Never : Loss.WhenFull);
        }
    }

    private void Send(AgentMessage message, Loss loss = Loss.WhenFull)
    {
        var json = JsonSerializer.SerializeToUtf8Bytes(message, AgentJson.Default.AgentMessage);
        var line = new byte[json.Length + 1];
        json.CopyTo(line, 0);
        line[^1] = (byte)'\n';
        _port.Send(line, loss);
    }

    private AgentReady Ready() => new(
        AgentProtocol.Version, Version, ProcText.Read("/proc/sys/kernel/osrelease").Trim(), ProcText.Read("/proc/sys/kernel/random/boot_id").Trim(),
        UptimeMilliseconds(), Environment.ProcessorCount, ProcText.MemTotalKib(ProcText.Read("/proc/meminfo")), _instance);

    private AgentStats Stats()
    {
        var counters = ProcText.Read("/proc/vmstat");
        return new(
            UptimeMilliseconds(), ProcText.VmStat(counters, "pgfault"), ProcText.VmStat(counters, "pgmajfault"), _workload.Read(), _log.Read(),
            !_tracingDecided ? null : _tracing?.Read() ?? new(null, null, null, null, null, false, AgentReasons.TracingMissing));
    }

    private void BeginTracing()
    {
        if (TracedFunctions.AreKnownIn(ProcText.Read("/proc/sys/kernel/osrelease")))
            _tracing = PageFaultTracing.Begin(TracedFunctions.PageFaults);
        _tracingDecided = true;
    }

    private static long UptimeMilliseconds() => ProcText.UptimeMilliseconds(ProcText.Read("/proc/uptime")) ?? 0;
}
