using System.Diagnostics;
using System.Security.Cryptography;
using Worker.Vms;

namespace Worker.Tests.Kvmtool;

/// <summary>Where the stand-in lies, and what its VMs need.</summary>
internal static class StandInLkvm
{
    public static string Path => System.IO.Path.Combine(AppContext.BaseDirectory, "lkvm");

    /// <summary>Two images: guest, and bare without an initrd.</summary>
    public static void WriteImage(TemporaryDirectory images)
    {
        foreach (var (name, files) in ((string, string[])[])[("guest", ["kernel", "initrd"]), ("bare", ["kernel"])])
        {
            var folder = Directory.CreateDirectory(images.Of(name)).FullName;
            var entries = new List<string>();
            foreach (var file in files)
            {
                File.WriteAllText(System.IO.Path.Combine(folder, file), file);
                var digest = Convert.ToHexStringLower(SHA256.HashData(System.Text.Encoding.ASCII.GetBytes(file)));
                entries.Add($$"""
                    "{{file}}":{"path":"{{file}}","sha256":"{{digest}}","bytes":{{file.Length}}}
                    """);
            }
            File.WriteAllText(System.IO.Path.Combine(folder, "image.json"), $$$"""
                {"name":"{{{name}}}","architecture":"arm64","kernelVersion":"6.12","hasAgent":true,"commandLine":"console=ttyAMA0 quiet","files":{{{{string.Join(',', entries)}}}}}
                """);
        }
    }

    public static RuntimeDirectory NewDirectory(TemporaryDirectory root)
    {
        var directory = RuntimeDirectory.Of(root.FullPath, Guid.NewGuid());
        directory.Create();
        directory.CreateVmmDirectory(null);
        return directory;
    }

    public static void MakePipe(string path) => Run("mkfifo", path);

    /// <summary>A program to its end: its status, and what it said on both outputs.</summary>
    public static (int Status, string Said) Run(string program, params string[] arguments) => Run(program, null, arguments);

    public static (int Status, string Said) Run(string program, string? home, string[] arguments)
    {
        var start = new ProcessStartInfo(program) { RedirectStandardOutput = true, RedirectStandardError = true };
        if (home is not null)
            start.Environment["HOME"] = home;
        foreach (var argument in arguments)
            start.ArgumentList.Add(argument);
        using var process = Process.Start(start)!;
        var errors = process.StandardError.ReadToEndAsync();
        var said = process.StandardOutput.ReadToEnd() + errors.GetAwaiter().GetResult();
        process.WaitForExit();
        return (process.ExitCode, said);
    }
}
