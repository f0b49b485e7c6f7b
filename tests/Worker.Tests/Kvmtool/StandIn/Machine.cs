using System.Diagnostics;
using System.Net.Sockets;
using Microsoft.Win32.SafeHandles;

namespace StandIn;

/// <summary>One running machine: its options, socket, terminal and guest.</summary>
internal sealed class Machine(string name)
{
    private const int Died = 128;
    private readonly TaskCompletionSource<int> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public static int Run(IReadOnlyList<string> words)
    {
        if (Options.Parse(words, out var status) is not { } options)
            return status;
        foreach (var file in (string[])["kernel", "initrd"])
            if (options.TryGetValue(file, out var path) && !File.Exists(path))
                return Die($"Unable to open {file} {path}");
        if (options.TryGetValue("loglevel", out var level) && level is not ("error" or "warning" or "info" or "debug"))
            return Die($"Unknown loglevel: {level}");
        if (options.TryGetValue("network", out var network) && network != "mode=none")
            return Die($"Unable to set up network {network}");
        var name = options.GetValueOrDefault("name", $"guest-{Environment.ProcessId}");
        Console.Error.WriteLine($"  Info: # lkvm run -k {options["kernel"]} -m {options["mem"]} -c {options["cpus"]} --name {name}");
        return new Machine(name).Live(options["params"]);
    }

    private static int Die(string why)
    {
        Console.Error.WriteLine($"  Fatal: {why}");
        return Died;
    }

    private int Live(string parameters)
    {
        var listener = Instances.Listen(name, out var path);
        if (listener is null)
            return Die("Initialisation failed");
        new Thread(() => Serve(listener)) { IsBackground = true }.Start();
        var guest = new Guest(parameters, End);
        if (!Console.IsInputRedirected && !Console.IsOutputRedirected)
            new Thread(() => ReadKeys(guest)) { IsBackground = true }.Start();
        guest.Boot();
        var status = _ended.Task.GetAwaiter().GetResult();
        File.Delete(path);
        if (status == 0)
            Console.Error.WriteLine("  Info: KVM session ended normally.");
        return status;
    }

    private void End(int status) => _ended.TrySetResult(status);

    private void ReadKeys(Guest guest)
    {
        using var handle = new SafeFileHandle(0, ownsHandle: false);
        using var input = new FileStream(handle, FileAccess.Read, bufferSize: 0);
        var escaped = false;
        var one = new byte[1];
        while (input.Read(one) == 1)
        {
            var key = one[0];
            if (escaped)
            {
                escaped = false;
                if (key == 'x')
                    End(0);
                if (key == 1)
                {
                    guest.Type(key);
                    continue;
                }
            }
            if (key == 1)
                escaped = true;
            else
                guest.Type(key);
        }
    }

    /// <summary>One connection after the other, each until it is closed.</summary>
    private void Serve(Socket listener)
    {
        var head = new byte[8];
        while (true)
        {
            try
            {
                using var client = listener.Accept();
                while (client.Receive(head) == head.Length)
                    Answer(client, BitConverter.ToUInt32(head));
            }
            catch (SocketException)
            {
                // Whoever asked did not wait for the answer.
            }
            catch (ObjectDisposedException)
            {
                return;
            }
        }
    }

    private void Answer(Socket client, uint type)
    {
        const uint stop = 6, pid = 7, state = 8;
        if (type == stop)
            End(0);
        else if (type == pid)
            client.Send(BitConverter.GetBytes(Environment.ProcessId));
        else if (type == state)
            client.Send(BitConverter.GetBytes(0));
        else
            Console.Error.WriteLine($"  Warning: No device handles type {type}");
    }

    public static void Crash()
    {
        using var self = Process.GetCurrentProcess();
        self.Kill();
        self.WaitForExit();
    }
}
